/** The command line of rootspan-verify: its commands, options and help. */
import { readFile } from 'node:fs/promises'
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { completionScript, SHELLS, type Shell } from './completion.ts'
import { type ExitCode, UNCHECKED, VERIFIED } from './outcome.ts'
import type { World } from './world.ts'

/** Runs a command line, without the program's name; resolves to the exit code. */
export async function runCommand(args: readonly string[], world: World): Promise<ExitCode> {
  let code: ExitCode = VERIFIED
  const program = buildProgram(world, await readVersion(), (result) => {
    code = result
  })
  try {
    await program.parseAsync(args, { from: 'user' })
    return code
  } catch (error) {
    // Commander has said what was wrong. Help that was asked for is no error; help instead of a command is.
    if (error instanceof CommanderError) return error.exitCode === 0 ? VERIFIED : UNCHECKED
    // Never 1, with which Node would end: that is said of evidence.
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error)
    world.err.write(`${what}\n\nThis is a bug of rootspan-verify's. Nothing was checked; please report it.\n`)
    return UNCHECKED
  }
}

const EXIT_CODES = `
Exit codes:
  0  verified
  1  the evidence is bad
  2  it could not be checked: unreadable, unsupported, a bad policy, wrong usage`

/** The commands as commander has them; completion is made from the same. Each is loaded when it is asked for. */
function buildProgram(world: World, version: string, done: (code: ExitCode) => void): Command {
  const program = new Command('rootspan-verify')
    .description('Verifies what a Rootspan log says, offline or as a whole, without trusting its operator.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .showHelpAfterError('Run with --help for usage.')
    .configureOutput({
      writeOut: (text) => world.out.write(text),
      writeErr: (text) => world.err.write(text),
      getOutHelpWidth: () => Math.min(world.out.columns, 100),
      getErrHelpWidth: () => Math.min(world.err.columns, 100),
      getOutHasColors: () => world.out.colors.isColorSupported,
      getErrHasColors: () => world.err.colors.isColorSupported,
    })
    .exitOverride()
    .addHelpText(
      'after',
      `${EXIT_CODES}

Examples:
  rootspan-verify verify refund.rootspan --policy log.policy
  curl -s http://127.0.0.1:4320/api/v1/executions/<trace id>/evidence | rootspan-verify verify - --policy log.policy
  rootspan-verify inspect refund.rootspan
  rootspan-verify why refund.rootspan --policy log.policy
  rootspan-verify audit http://127.0.0.1:4320/log --policy log.policy

A policy names the keys that you trust. Get it from the operator, not from the log that it is for.`,
    )
  const policy = () => new Option('-p, --policy <file>', 'your own policy: the keys that you trust')
  const json = () => new Option('--json', 'print one JSON document')

  program
    .command('verify')
    .description('verify evidence bundles, offline')
    .argument('<file...>', 'evidence bundles (.rootspan); - reads standard input')
    .addOption(policy().makeOptionMandatory())
    .addOption(json())
    .addHelpText('after', EXIT_CODES)
    .action(async (files: string[], options) => {
      const { verifyCommand } = await import('./verify-command.ts')
      done(await verifyCommand(world, files, options))
    })

  program
    .command('inspect')
    .description("draw an execution's tree; without a policy, nothing is verified")
    .argument('<file>', 'an evidence bundle (.rootspan); - reads standard input')
    .addOption(policy())
    .addOption(json())
    .action(async (file: string, options) => {
      const { inspectCommand } = await import('./inspect-command.ts')
      done(await inspectCommand(world, file, options))
    })

  program
    .command('why')
    .description(
      'verify an execution, and say why it ran and by whose authority, with the records that say it',
    )
    .argument('<file>', 'an evidence bundle (.rootspan); - reads standard input')
    .addOption(policy().makeOptionMandatory())
    .addOption(json())
    .addHelpText('after', EXIT_CODES)
    .action(async (file: string, options) => {
      const { whyCommand } = await import('./why-command.ts')
      done(await whyCommand(world, file, options))
    })

  program
    .command('audit')
    .description('derive a whole log again over HTTP: entries, tiles, kept checkpoints, links, seals')
    .argument('<url>', 'the prefix of the log, e.g. http://127.0.0.1:4320/log')
    .addOption(policy().makeOptionMandatory())
    .addOption(json())
    .addOption(
      new Option('--from-size <n>', 'begin at the size of a checkpoint that was audited before').argParser(
        parseSize,
      ),
    )
    .addHelpText('after', EXIT_CODES)
    .action(async (url: string, options) => {
      const { auditCommand } = await import('./audit-command.ts')
      done(await auditCommand(world, url, options))
    })

  program
    .command('completion')
    .description('print a completion script for a shell')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .addHelpText(
      'after',
      `
Examples:
  eval "$(rootspan-verify completion bash)"
  rootspan-verify completion zsh > "\${fpath[1]}/_rootspan-verify"
  rootspan-verify completion fish > ~/.config/fish/completions/rootspan-verify.fish`,
    )
    .action((shell: Shell) => world.out.write(completionScript(shell, program)))
  return program
}

function parseSize(text: string): number {
  const size = /^(?:0|[1-9][0-9]*)$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(size)) throw new InvalidArgumentError('It is not a tree size.')
  return size
}

async function readVersion(): Promise<string> {
  const manifest: unknown = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
  return (manifest as { version: string }).version
}
