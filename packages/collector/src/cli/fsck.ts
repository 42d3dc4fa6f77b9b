/** `rootspan fsck`: checks every byte of a stopped collector's directories. */
import type { Command } from 'commander'
import type { FsckReport } from '../fsck.ts'
import { colorsOf, type Io, showProgress } from './io.ts'
import { addFlags, configOf, type SharedOptions } from './settings.ts'

export function addFsck(program: Command, io: Io): void {
  const command = program
    .command('fsck')
    .summary('check everything on disk')
    .description(
      'Checks journal, log, packs, log.json, private key and signer memory against each other, every hash of the tree included, and repairs nothing. Stop the collector first. Exit code 1 when it finds a problem.',
    )
    .option('--json', 'print one JSON object')
    .addHelpText('after', '\nExamples:\n  $ rootspan fsck\n  $ rootspan fsck --config rootspan.yaml --json')
  addFlags(command, 'config', 'data', 'signer', 'logLevel').action(
    async (options: SharedOptions & { json?: boolean }) => {
      const { json, ...shared } = options
      const config = configOf(shared, io)
      const { fsck } = await import('../fsck.ts')
      const progress = json === true ? undefined : showProgress(io)
      const report = await fsck(config, progress === undefined ? {} : { onProgress: progress.show })
      progress?.clear()
      io.stdout.write(json === true ? `${JSON.stringify(report)}\n` : formatReport(report, io))
      if (report.problems.length > 0) throw new FoundProblems()
    },
  )
}

/** Ends the command with exit code 1; everything was said already. */
export class FoundProblems extends Error {
  override readonly name = 'FoundProblems'
}

/** For people: problems with what to do about them, notes, what was checked and what was not, and the verdict. */
function formatReport({ checked, problems, notes, notChecked }: FsckReport, io: Io): string {
  const colors = colorsOf(io.stdout, io.env)
  const counts = Object.entries(checked).map(([name, count]) => `${count.toLocaleString('en')} ${name}`)
  const verdict =
    problems.length === 0
      ? colors.green('no problems found')
      : colors.red(`${problems.length} ${problems.length === 1 ? 'problem' : 'problems'} found`)
  return [
    ...problems.flatMap(({ where, message, next }) => [
      `${colors.red('problem')}      ${where}: ${message}`,
      `             ${next}`,
    ]),
    ...notes.map(({ where, message }) => `${colors.yellow('note')}         ${where}: ${message}`),
    ...notChecked.map(({ where, message }) => colors.dim(`not checked  ${where}: ${message}`)),
    `checked      ${counts.length === 0 ? 'nothing' : counts.join(', ')}`,
    verdict,
    '',
  ].join('\n')
}
