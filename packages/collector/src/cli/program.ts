/**
 * The program `rootspan`: its commands, its help and its exit codes.
 *
 * Exit codes: 0 it worked; 1 it failed, or problems were found; 2 the command line or the configuration is wrong.
 */
import { Command, CommanderError } from 'commander'
import { readVersion } from '../version.ts'
import { addCompletion } from './completion.ts'
import { addConfig } from './config.ts'
import { addErase } from './erase.ts'
import { addFindings } from './findings.ts'
import { addFirstTrace } from './first-trace.ts'
import { addFsck, FoundProblems } from './fsck.ts'
import { addHold } from './hold.ts'
import { addInit } from './init.ts'
import { colorsOf, printError } from './io.ts'
import { addKeygen } from './keygen.ts'
import { addRules } from './rules.ts'
import { addRun, type RunIo } from './run.ts'
import { addWhy } from './why.ts'

/** The program, its streams and signals passed in. */
function createProgram(io: RunIo): Command {
  const out = colorsOf(io.stdout, io.env)
  const program = new Command('rootspan')
    .description(
      'Rootspan takes OpenTelemetry traces and commits them, as lineage records that can be verified, to a transparency log.',
    )
    .version(readVersion(), '-V, --version', 'show the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: false, styleTitle: (title) => out.bold(title) })
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      getOutHasColors: () => out.isColorSupported,
      getErrHasColors: () => colorsOf(io.stderr, io.env).isColorSupported,
    })
    .showHelpAfterError('Run it with --help to see what there is.')
    .exitOverride()
    .addHelpText(
      'after',
      `
Examples:
  $ rootspan init                           make a log in ./rootspan-data, its key in ./rootspan-signer
  $ rootspan run                            OTLP on 127.0.0.1:4317 and :4318, API on 127.0.0.1:4320
  $ rootspan first-trace                    send a small trace, see it verified
  $ rootspan fsck                           check everything on disk
  $ rootspan rules test traces.json         see what the continuity rules find
  $ rootspan findings --fail-on high        fail where a running collector knows of such a finding
  $ rootspan why <trace id>                 why an execution ran, and by whose authority
  $ rootspan erase --trace <id> --dry-run   see what an erasure would touch

Exit codes:
  0  it worked
  1  it failed, or problems were found
  2  the command line or the configuration is wrong`,
    )
  addInit(program, io)
  addRun(program, io)
  addFirstTrace(program, io)
  addFsck(program, io)
  addErase(program, io)
  addHold(program, io)
  addConfig(program, io)
  addKeygen(program, io)
  addRules(program, io)
  addFindings(program, io)
  addWhy(program, io)
  addCompletion(program, io)
  return program
}

/** Runs one command line (without the program's own name) and returns the exit code. Never rejects. */
export async function main(args: readonly string[], io: RunIo): Promise<number> {
  try {
    const program = createProgram(io)
    for (const command of program.commands)
      command.copyInheritedSettings(program).helpOption('-h, --help', 'show help')
    if (args.length === 0) {
      program.outputHelp({ error: true })
      return 2
    }
    await program.parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    // Commander has said what is wrong; help and version end this way, too.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    if (error instanceof FoundProblems) return 1
    return printError(error, io, isDebug(args))
  }
}

/** {@link main} for a process: its arguments, streams, environment and signals. Ends it, output flushed. */
export async function runProgram(process: NodeJS.Process): Promise<void> {
  const io: RunIo = {
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    onSignal(listener) {
      process.on('SIGTERM', listener)
      process.on('SIGINT', listener)
      return () => process.off('SIGTERM', listener).off('SIGINT', listener)
    },
    exit: (code) => process.exit(code),
  }
  // Whoever reads our output may stop before its end, as head does.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    throw error
  })
  const code = await main(process.argv.slice(2), io)
  // Threads of a collector that failed may be running: the process must not wait for them.
  await Promise.all(
    [process.stdout, process.stderr].map((stream) => new Promise((resolve) => stream.write('', resolve))),
  )
  process.exit(code)
}

function isDebug(args: readonly string[]): boolean {
  const at = args.findIndex((arg) => arg.startsWith('--log-level'))
  const level = args[at]?.split('=')[1] ?? args[at + 1]
  return at >= 0 && (level === 'debug' || level === 'trace')
}
