/** What commands write to, and how errors look. */
import pc from 'picocolors'
import type { OperatorError } from '../operator-error.ts'

export interface OutputStream {
  readonly isTTY?: boolean | undefined
  write(text: string): unknown
}

/** The world of a command. */
export interface Io {
  readonly stdout: OutputStream
  readonly stderr: OutputStream
  readonly env: Readonly<Record<string, string | undefined>>
}

export type Colors = ReturnType<typeof pc.createColors>

/** Colours for a stream: on a terminal, unless NO_COLOR is set or TERM is dumb; anywhere with FORCE_COLOR. */
export function colorsOf(stream: OutputStream, env: Io['env']): Colors {
  const isForced = (env.FORCE_COLOR ?? '') !== '' && env.FORCE_COLOR !== '0'
  const isRefused = (env.NO_COLOR ?? '') !== '' || env.TERM === 'dumb'
  return pc.createColors(!isRefused && (isForced || stream.isTTY === true))
}

/**
 * Writes an error as two lines, what is wrong and what to do next, and returns the exit code. The stack of what is
 * no operator's affair is shown with `--log-level debug` only. Errors of worker threads arrive without their class,
 * so that it is the hint that counts.
 */
export function printError(error: unknown, io: Io, isDebug: boolean): number {
  const colors = colorsOf(io.stderr, io.env)
  const { message, hint, exitCode, stack } = describeError(error)
  io.stderr.write(`${colors.red('error:')} ${message}\n`)
  if (hint !== '') io.stderr.write(`${hint}\n`)
  if (isDebug && stack !== undefined) io.stderr.write(`${colors.dim(stack)}\n`)
  return exitCode
}

interface Described {
  readonly message: string
  readonly hint: string
  readonly exitCode: number
  readonly stack: string | undefined
}

function describeError(error: unknown): Described {
  if (!(error instanceof Error)) return { message: String(error), hint: '', exitCode: 1, stack: undefined }
  const { message, stack } = error
  const { hint, exitCode } = error as Partial<OperatorError>
  if (typeof hint === 'string') return { message, hint, exitCode: exitCode === 2 ? 2 : 1, stack }
  const cause = innermost(error)
  return {
    message: cause === error ? message : `${message}: ${cause.message}`,
    hint: systemHint(cause),
    exitCode: 1,
    stack,
  }
}

/** What was wrong in the first place. */
function innermost(error: Error): Error {
  return error.cause instanceof Error ? innermost(error.cause) : error
}

/** What to do about errors of the operating system that operators meet. */
function systemHint(error: Error): string {
  const { code, path } = error as NodeJS.ErrnoException
  switch (code) {
    case 'EACCES':
    case 'EPERM':
      return `Give the user that runs this access to ${path ?? 'it'}.`
    case 'EADDRINUSE':
      return 'Another program listens there, perhaps another collector: stop it, or choose another endpoint.'
    case 'EADDRNOTAVAIL':
      return 'This machine does not have that address: choose another endpoint.'
    case 'ENOSPC':
    case 'EDQUOT':
      return 'Make room on the disk; nothing that was acknowledged is lost.'
    case 'LEVEL_LOCKED':
      return 'Another process has the data directory open: stop it first.'
    default:
      return 'Run it again with --log-level debug for the stack trace.'
  }
}

/** One line on a terminal, overwritten; undefined elsewhere. */
export function showProgress(io: Io): { show(stage: string, done: number): void; clear(): void } | undefined {
  if (io.stderr.isTTY !== true) return undefined
  return {
    show: (stage, done) => io.stderr.write(`\r\u001b[K${stage} ${done.toLocaleString('en')}`),
    clear: () => io.stderr.write('\r\u001b[K'),
  }
}
