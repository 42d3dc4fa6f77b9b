/** `rootspan fsck`: checks every byte of a stopped collector's directories. */
import type { Command } from 'commander'
import type { Config } from '../config.ts'
import { colorsOf, type Io } from './io.ts'
import { addFlags, configOf, type SharedOptions } from './settings.ts'

/** Something that is not as it was written. `where` names the file, and the place in it where it is known. */
export interface FsckProblem {
  readonly where: string
  readonly message: string
}

/** What was looked at, counted by kind (`frames`, `commits`, `records`, ...), and all that was found. */
export interface FsckReport {
  readonly checked: Readonly<Record<string, number>>
  readonly problems: readonly FsckProblem[]
}

/** Checks the data and signer directories of a configuration. Changes nothing; finds all problems that it can. */
export type Fsck = (
  config: Config,
  options: { readonly onProgress?: (stage: string, done: number) => void },
) => Promise<FsckReport>

export function addFsck(program: Command, io: Io): void {
  const command = program
    .command('fsck')
    .summary('check everything on disk, changing nothing')
    .description(
      'Checks journal, log, packs, log.json, private key and signer memory against each other, every hash of the tree included. Stop the collector first. Exit code 1 when it finds a problem.',
    )
    .option('--json', 'print one JSON object')
    .addHelpText('after', '\nExamples:\n  $ rootspan fsck\n  $ rootspan fsck --config rootspan.yaml --json')
  addFlags(command, 'config', 'data', 'signer', 'logLevel').action(
    async (options: SharedOptions & { json?: boolean }) => {
      const { json, ...shared } = options
      const config = configOf(shared, io)
      const { fsck }: { fsck: Fsck } = await import('../fsck.ts')
      const report = await fsck(config, json === true ? {} : { onProgress: showProgress(io) })
      io.stdout.write(json === true ? `${JSON.stringify(report)}\n` : formatReport(report, io))
      if (report.problems.length > 0) throw new FoundProblems()
    },
  )
}

/** Ends the command with exit code 1; everything was said already. */
export class FoundProblems extends Error {
  override readonly name = 'FoundProblems'
}

/** For people. */
export function formatReport({ checked, problems }: FsckReport, io: Io): string {
  const colors = colorsOf(io.stdout, io.env)
  const counts = Object.entries(checked).map(([name, count]) => `${count.toLocaleString('en')} ${name}`)
  const verdict =
    problems.length === 0
      ? colors.green('no problems found')
      : colors.red(`${problems.length} ${problems.length === 1 ? 'problem' : 'problems'} found`)
  return [
    ...problems.map(({ where, message }) => `${colors.red('problem:')} ${where}: ${message}`),
    `checked ${counts.join(', ')}: ${verdict}`,
    ...(problems.length === 0
      ? []
      : ['Keep both directories as they are, and restore the files named from a copy.']),
    '',
  ].join('\n')
}

/** One line on a terminal, overwritten; nothing elsewhere. */
function showProgress(io: Io): (stage: string, done: number) => void {
  if (io.stderr.isTTY !== true) return () => {}
  return (stage, done) => io.stderr.write(`\r\u001b[K${stage} ${done.toLocaleString('en')}\r`)
}
