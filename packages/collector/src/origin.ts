/**
 * `log.json` in the data directory: which log this is.
 *
 * Written once by `init`, never changed. It says under which origin and key everything in the directory is
 * signed; a directory, a configuration and a signer that disagree do not start. It protects nothing by itself (who
 * can write it can write another), but a damaged byte in it is found: the text must be the canonical one, and its
 * last member is the digest of the others.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { equalBytes, parseHex, parseUtf8, utf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import { ED25519, isKeyName, parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { writeFileDurably } from './durable.ts'
import type { Files } from './files.ts'
import { OperatorError } from './operator-error.ts'
import { readSmallFile } from './read-file.ts'

/** The version of the whole data directory. */
const LOG_FORMAT = 'rootspan/log/v0'

export const LOG_FILE = 'log.json'

/** How long a log's origin may be: what other readers of checkpoints accept. */
const MAX_ORIGIN_BYTES = 255

const MAX_LOG_FILE_BYTES = 16 * 1024

/** Which log this is. Can be cloned to a thread. */
export interface Identity {
  readonly origin: string
  /** The log's Ed25519 verifier key as text, `origin+id+key`. */
  readonly key: string
  /** When `init` made the log, as ISO 8601 in UTC with milliseconds. For people; nothing depends on it. */
  readonly created: string
}

/**
 * Why a text cannot be the origin of a log made here, in words that follow "the origin"; undefined when it can.
 * Origins are schema-less URLs that end in `/v0` for as long as the formats may still change.
 */
export function findOriginProblem(origin: string): string | undefined {
  if (!isKeyName(origin)) return 'has a space, a plus sign or a control character, or is empty'
  if (utf8(origin).length > MAX_ORIGIN_BYTES) return `is over ${MAX_ORIGIN_BYTES} bytes long`
  if (origin.includes('://')) return 'has a scheme: leave out what is before and with "://"'
  if (!/^[^/]+\/(?:.*\/)?v0$/s.test(origin)) return 'does not end in "/v0" after a name'
  return undefined
}

/** The bytes of `log.json`. */
export function formatLogFile({ origin, key, created }: Identity): Uint8Array {
  const members = { format: LOG_FORMAT, origin, key, created }
  const sha256 = createHash('sha256')
    .update(JSON.stringify(members, undefined, 2))
    .digest('hex')
  return utf8(`${JSON.stringify({ ...members, sha256 }, undefined, 2)}\n`)
}

/** Parses `log.json`; throws a {@link MalformedError} for every text but the one that {@link formatLogFile} gives. */
export function parseLogFile(bytes: Uint8Array): Identity {
  const members = parseMembers(parseUtf8(bytes, LOG_FILE))
  const { format, origin, key, created, sha256 } = members
  if (format !== LOG_FORMAT)
    throw new MalformedError(`${LOG_FILE} is not of the format ${LOG_FORMAT}`, JSON.stringify(format))
  if (!isText(origin) || !isText(key) || !isText(created) || !isText(sha256))
    throw new MalformedError(`${LOG_FILE} lacks one of origin, key, created and sha256`)
  parseHex(sha256, `sha256 in ${LOG_FILE}`, 32)
  const { type, name } = parseVerifierKey(key)
  if (type !== ED25519) throw new MalformedError(`${LOG_FILE} names a key that is not Ed25519`)
  if (name !== origin) throw new MalformedError(`${LOG_FILE} names the key of another origin`)
  const problem = findOriginProblem(origin)
  if (problem !== undefined) throw new MalformedError(`the origin in ${LOG_FILE} ${problem}`)
  if (new Date(created).toJSON() !== created) throw new MalformedError(`created in ${LOG_FILE} is not a time`)
  const identity = { origin, key, created }
  if (!equalBytes(formatLogFile(identity), bytes))
    throw new MalformedError(`${LOG_FILE} is damaged: it is not what its sha256 covers`)
  return identity
}

/**
 * Reads `log.json` of a data directory; undefined when there is none, which means that no log was made there.
 * Throws an {@link OperatorError} that names the file when it is damaged.
 */
export async function readLogFile(files: Files, directory: string): Promise<Identity | undefined> {
  const path = join(directory, LOG_FILE)
  try {
    const bytes = await readSmallFile(files, path, MAX_LOG_FILE_BYTES)
    return bytes === undefined ? undefined : parseLogFile(bytes)
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    throw new OperatorError(
      `${path}: ${error.message}`,
      `Restore ${path} from a copy; it never changes after rootspan init.`,
      { cause: error },
    )
  }
}

/** Writes `log.json` durably. The last step of `init`: with it the log exists. */
export async function writeLogFile(files: Files, directory: string, identity: Identity): Promise<void> {
  await writeFileDurably(files, join(directory, LOG_FILE), formatLogFile(identity), 0o644)
}

/** Throws an {@link OperatorError} when the configuration names another origin than the data directory. */
export function checkConfiguredOrigin(identity: Identity, configured: string | undefined): void {
  if (configured === undefined || configured === identity.origin) return
  throw new OperatorError(
    `the configuration says log.origin ${configured}, but the data directory holds the log ${identity.origin}`,
    'Correct or remove log.origin, or point storage.directory at the data of that log.',
    { exitCode: 2 },
  )
}

function parseMembers(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new MalformedError(`${LOG_FILE} is not JSON`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new MalformedError(`${LOG_FILE} is not a JSON object`)
  return value as Record<string, unknown>
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}
