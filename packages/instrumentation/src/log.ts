/**
 * What the instrumentation says to the operator: single lines on standard error, never a value of the application.
 *
 * Errors that hooks meet are named by class and place only: their messages may quote what was being read.
 */
import type { Config } from './config.ts'

export interface Log {
  info(text: string): void
  warn(text: string): void
  /** Warns once per process for each text. */
  once(text: string): void
  /** A failure of our own code. Said once per place, counted always. */
  failed(where: string, error: unknown): void
  /** How often `failed` was called. */
  readonly failures: number
}

/** Distinct texts that are remembered, so that one is said once. */
const MAX_REMEMBERED = 1000

export function createLog(
  level: Config['logLevel'],
  write: (line: string) => void = (line) => process.stderr.write(line),
): Log {
  const said = new Set<string>()
  let failures = 0
  const say = (text: string): void => {
    try {
      write(`rootspan: ${text}\n`)
    } catch {
      // A closed standard error must not reach the application.
    }
  }
  const once = (text: string): void => {
    if (level === 'silent' || said.has(text) || said.size >= MAX_REMEMBERED) return
    said.add(text)
    say(`warning: ${text}`)
  }
  return {
    info(text) {
      if (level === 'info') say(text)
    },
    warn(text) {
      if (level !== 'silent') say(`warning: ${text}`)
    },
    once,
    failed(where, error) {
      failures++
      once(`${where} failed: ${describe(error)}; the application is not affected`)
    },
    get failures() {
      return failures
    },
  }
}

/** Class and place of an error. */
function describe(error: unknown): string {
  try {
    if (!(error instanceof Error)) return `a ${typeof error} was thrown`
    const frame = /^ +at .*?([^/\\(]+:\d+:\d+)\)?$/m.exec(error.stack ?? '')?.[1]
    return frame === undefined ? error.constructor.name : `${error.constructor.name} at ${frame}`
  } catch {
    return 'an error that cannot be read'
  }
}
