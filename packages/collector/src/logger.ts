/**
 * The collector's own messages: JSON lines for machines, one readable line each for a terminal.
 *
 * A message is fixed, what varies is in its fields. Secrets are never logged: nobody passes them, and what looks
 * like one is taken out of the line before it is written.
 */
import pc from 'picocolors'
import { type Logger, pino } from 'pino'
import type { Config } from './config.ts'

export type { Logger } from 'pino'

/** Where lines go: standard output, or a test. */
export interface LogStream {
  readonly isTTY?: boolean | undefined
  write(line: string): unknown
}

type Colors = ReturnType<typeof pc.createColors>

/** Fields whose values are never written, at the top or one level down. */
const SECRET_FIELDS = [
  'authorization',
  'cookie',
  'password',
  'privateKey',
  'privateText',
  'secret',
  'seed',
  'token',
]

// A private key in the text form of signed-note, wherever it is in a line.
const PRIVATE_KEY = /PRIVATE\+KEY\+[^\s"\\]*/g

/** Creates the logger that everything in the process logs to. Writes synchronously: the last line before a crash is there. */
export function createLogger(settings: Config['logs'], stream: LogStream = process.stdout): Logger {
  const isPretty = settings.format === 'pretty' || (settings.format === 'auto' && stream.isTTY === true)
  const colors = pc.createColors(pc.isColorSupported && stream.isTTY === true)
  const write = (line: string) => stream.write(isPretty ? formatPretty(line, colors) : line)
  return pino(
    {
      level: settings.level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]), censor: '[secret]' },
      hooks: { streamWrite: (line) => line.replace(PRIVATE_KEY, '[secret]') },
    },
    { write },
  )
}

/** One JSON line as a line for people: time, level, message, fields; a stack, where there is one, below it. */
export function formatPretty(line: string, colors: Colors): string {
  let record: Record<string, unknown>
  try {
    record = JSON.parse(line)
  } catch {
    return line
  }
  const { time, level, msg, err, ...fields } = record
  const parts = [
    colors.dim(typeof time === 'string' ? time.slice(11, 23) : ''),
    formatLevel(String(level), colors),
    String(msg ?? ''),
    ...Object.entries(fields).map(([key, value]) => `${colors.dim(`${key}=`)}${formatValue(value)}`),
  ]
  return `${parts.join(' ').trimEnd()}${formatError(err, String(level), colors)}\n`
}

function formatLevel(level: string, colors: Colors): string {
  const text = level.toUpperCase().padEnd(5)
  if (level === 'error' || level === 'fatal') return colors.red(text)
  if (level === 'warn') return colors.yellow(text)
  return level === 'info' ? colors.green(text) : colors.dim(text)
}

/** Text without spaces as it is, everything else as JSON, so that a line stays one line. */
function formatValue(value: unknown): string {
  if (typeof value === 'string' && /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(value)) return value
  return JSON.stringify(value) ?? String(value)
}

function formatError(error: unknown, level: string, colors: Colors): string {
  if (typeof error !== 'object' || error === null) return ''
  const { message, stack, hint } = error as { message?: unknown; stack?: unknown; hint?: unknown }
  const lines = [`: ${String(message ?? '')}`]
  if (typeof hint === 'string') lines.push(`\n  ${hint}`)
  else if (typeof stack === 'string' && level !== 'warn')
    lines.push(
      ...stack
        .split('\n')
        .slice(1)
        .map((line) => `\n  ${colors.dim(line.trim())}`),
    )
  return lines.join('')
}
