/**
 * Every setting of the instrumentation: `ROOTSPAN_*` environment variables, read once.
 *
 * A value that cannot be used is said and replaced by the default, the safer choice: a service never fails to start
 * because of its evidence.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

export interface Config {
  /** Key of fingerprints and commitments; absent: one of the process's own. */
  readonly fingerprintKey: Uint8Array | undefined
  /** How identities (subjects, actors, resource ids) leave the process. */
  readonly identities: 'fingerprint' | 'clear'
  /** Whether content, of models, tools and errors, leaves the process as commitments. */
  readonly content: 'commit' | 'clear'
  /** Libraries whose hooks stay out, by package name. */
  readonly disabledHooks: ReadonlySet<string>
  /** Whether the libraries that the application depends on are loaded and tried at start. */
  readonly selfTest: boolean
  /** Whether OPA is asked for its version and its bundles' revisions where the application does not ask. */
  readonly opaProvenance: boolean
  readonly logLevel: 'info' | 'warn' | 'silent'
  /** Base URL of the OTLP/HTTP receiver that governed spans are sent to; absent: that of `OTEL_EXPORTER_OTLP_*`. */
  readonly endpoint: URL | undefined
  /** Where governed spans are kept until they are acknowledged; absent: in memory. */
  readonly spool: { readonly directory: string; readonly maxBytes: number } | undefined
  /** Time between heartbeats; 0: none. */
  readonly heartbeatMillis: number
  /** How long a gate waits where the action says nothing else. */
  readonly gateMillis: number
  /** What was wrong with the environment, for the log. */
  readonly problems: readonly string[]
}

/** Shorter keys are refused: with one of these, fingerprints of guessable values can be tried out. */
const MIN_KEY_BYTES = 16
const MAX_KEY_BYTES = 4096

export function readConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const problems: string[] = []
  const choice = <T extends string>(name: string, values: readonly [T, ...T[]]): T => {
    const value = env[name]
    if (value === undefined || value === '') return values[0]
    const found = values.find((one) => one === value.trim().toLowerCase())
    if (found === undefined)
      problems.push(`${name} must be one of ${values.join(', ')}; ${values[0]} is used`)
    return found ?? values[0]
  }
  const number = (name: string, fallback: number, min: number, max: number): number => {
    const text = env[name]?.trim()
    if (text === undefined || text === '') return fallback
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
    if (value >= min && value <= max) return value
    problems.push(`${name} must be a whole number from ${min} to ${max}; ${fallback} is used`)
    return fallback
  }
  const spoolBytes = number('ROOTSPAN_SPOOL_MAX_BYTES', 2 ** 31, 2 ** 20, 2 ** 40)
  const { ROOTSPAN_SPOOL: spool } = env
  return {
    fingerprintKey: readKey(env, problems),
    identities: choice('ROOTSPAN_IDENTITIES', ['fingerprint', 'clear']),
    content: choice('ROOTSPAN_CONTENT', ['commit', 'clear']),
    disabledHooks: new Set(list(env.ROOTSPAN_DISABLED_HOOKS)),
    selfTest: choice('ROOTSPAN_SELF_TEST', ['on', 'off']) === 'on',
    opaProvenance: choice('ROOTSPAN_OPA_PROVENANCE', ['off', 'on']) === 'on',
    logLevel: choice('ROOTSPAN_LOG_LEVEL', ['info', 'warn', 'silent']),
    endpoint: readUrl('ROOTSPAN_ENDPOINT', env, problems),
    spool: spool ? { directory: resolve(spool), maxBytes: spoolBytes } : undefined,
    heartbeatMillis: number('ROOTSPAN_HEARTBEAT_MILLIS', 60_000, 0, 86_400_000),
    gateMillis: number('ROOTSPAN_GATE_MILLIS', 2000, 1, 60_000),
    problems,
  }
}

function list(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
}

/** Its text is in no message: it may hold a password. */
function readUrl(name: string, env: NodeJS.ProcessEnv, problems: string[]): URL | undefined {
  const text = env[name]
  if (text === undefined || text === '') return undefined
  const url = URL.parse(text.trim())
  if (url !== null && /^https?:$/.test(url.protocol)) return url
  problems.push(`${name} is no http or https URL and is not used`)
  return undefined
}

/** The key's own value is in no message. */
function readKey(env: NodeJS.ProcessEnv, problems: string[]): Uint8Array | undefined {
  const { ROOTSPAN_FINGERPRINT_KEY: text, ROOTSPAN_FINGERPRINT_KEY_FILE: file } = env
  let key: Uint8Array | undefined
  let name = 'ROOTSPAN_FINGERPRINT_KEY'
  if (text !== undefined && text !== '') key = Buffer.from(text)
  else if (file !== undefined && file !== '') {
    name = 'ROOTSPAN_FINGERPRINT_KEY_FILE'
    try {
      key = Buffer.from(readFileSync(file, 'utf8').trim())
    } catch (error) {
      const { code = 'an error' } = error as NodeJS.ErrnoException
      problems.push(`${name} cannot be read (${code}); a key of this process alone is used`)
      return undefined
    }
  }
  if (key === undefined) return undefined
  if (key.length >= MIN_KEY_BYTES && key.length <= MAX_KEY_BYTES) return key
  problems.push(
    `${name} must have ${MIN_KEY_BYTES} to ${MAX_KEY_BYTES} bytes; a key of this process alone is used`,
  )
  return undefined
}
