/**
 * Every setting of the instrumentation: `ROOTSPAN_*` environment variables, read once.
 *
 * A value that cannot be used is said and replaced by the default, the safer choice: a service never fails to start
 * because of its evidence.
 */
import { readFileSync } from 'node:fs'

export interface Config {
  /** Key of fingerprints and commitments; absent: one of the process's own. */
  readonly fingerprintKey: Uint8Array | undefined
  /** How identities (subjects, actors, resource ids) leave the process. */
  readonly identities: 'fingerprint' | 'clear'
  /** Libraries whose hooks stay out, by package name. */
  readonly disabledHooks: ReadonlySet<string>
  /** Whether the libraries that the application depends on are loaded and tried at start. */
  readonly selfTest: boolean
  /** Whether OPA is asked for its version and its bundles' revisions where the application does not ask. */
  readonly opaProvenance: boolean
  readonly logLevel: 'info' | 'warn' | 'silent'
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
  return {
    fingerprintKey: readKey(env, problems),
    identities: choice('ROOTSPAN_IDENTITIES', ['fingerprint', 'clear']),
    disabledHooks: new Set(list(env.ROOTSPAN_DISABLED_HOOKS)),
    selfTest: choice('ROOTSPAN_SELF_TEST', ['on', 'off']) === 'on',
    opaProvenance: choice('ROOTSPAN_OPA_PROVENANCE', ['off', 'on']) === 'on',
    logLevel: choice('ROOTSPAN_LOG_LEVEL', ['info', 'warn', 'silent']),
    problems,
  }
}

function list(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
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
