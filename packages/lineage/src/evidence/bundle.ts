/**
 * The evidence bundle: one execution in one file (docs/formats/bundle.md).
 *
 * Canonical JSON: parsing formats again and compares, so a bundle has one spelling. It holds no code and no
 * trust roots.
 */
import { formatBase64, joinBytes, parseBase64, parseUtf8, utf8 } from '../bytes.ts'
import { MalformedError, VerificationError } from '../errors.ts'

export const BUNDLE_FORMAT = 'rootspan/evidence/v0'
/** Largest bundle in bytes: a string of it has to fit into JavaScript's longest. */
export const MAX_BUNDLE = 512_000_000

const FORMATS = /^rootspan\/evidence\/v(?:0|[1-9][0-9]*)$/

export interface BundleSegment {
  /** Index of the segment's first leaf. */
  readonly first: number
  /** Entries of the segment in order, the seal last. */
  readonly entries: readonly Uint8Array[]
  /** Range proof from the entries to the checkpoint (docs/formats/range-proof.md). */
  readonly proof: readonly Uint8Array[]
  /** Encoded segment payload (docs/formats/payload.md). */
  readonly payload: Uint8Array
}

export interface Bundle {
  /** Signed checkpoint, verbatim. */
  readonly checkpoint: string
  /** All segments of the execution up to the checkpoint, in order. */
  readonly segments: readonly BundleSegment[]
  /** The erased records that name their seals, or seals in `context`, by ascending leaf: one entry each, its payload a run of one record. */
  readonly erasures: readonly BundleSegment[]
  /**
   * The records of other places that contexts of the segments name, by ascending leaf: one entry each, and as payload a
   * run of this record that shows the claim that it is named for. Where that was erased the payload is empty, and the
   * seal of the record's segment is here, too, with an empty payload.
   */
  readonly context: readonly BundleSegment[]
}

/** The one spelling of a bundle, with a newline at the end. */
export function formatBundle(bundle: Bundle): Uint8Array {
  return joinBytes([...spell(bundle)])
}

/** The spelling in pieces: as one string it might be longer than strings can be. */
function* spell({ checkpoint, segments, erasures, context }: Bundle): Generator<Uint8Array> {
  yield utf8(`{"format":"${BUNDLE_FORMAT}","checkpoint":${JSON.stringify(checkpoint)},"segments":[`)
  yield* spellSegments(segments)
  for (const [name, parts] of Object.entries({ erasures, context })) {
    if (parts.length === 0) continue
    yield utf8(`],"${name}":[`)
    yield* spellSegments(parts)
  }
  yield utf8(']}\n')
}

function* spellSegments(segments: readonly BundleSegment[]): Generator<Uint8Array> {
  for (const [at, { first, entries, proof, payload }] of segments.entries()) {
    const head = { first, entries: entries.map(formatBase64), proof: proof.map(formatBase64) }
    yield utf8(
      `${at === 0 ? '' : ','}${JSON.stringify(head).slice(0, -1)},"payload":"${formatBase64(payload)}"}`,
    )
  }
}

/**
 * Parses a bundle. Throws a MalformedError for anything but the one spelling of a bundle, and a VerificationError
 * `unsupported` for a bundle of another format version.
 */
export function parseBundle(bytes: Uint8Array): Bundle {
  if (bytes.length > MAX_BUNDLE) throw new MalformedError('a bundle is over 512 MB')
  let json: unknown
  try {
    json = JSON.parse(parseUtf8(bytes, 'a bundle'))
  } catch (error) {
    if (error instanceof MalformedError) throw error
    throw new MalformedError('a bundle is not JSON', undefined, { cause: error })
  }
  checkFormat(json)
  const optional = (['erasures', 'context'] as const).filter(
    (name) => typeof json === 'object' && json !== null && Object.hasOwn(json, name),
  )
  const top = members(json, ['format', 'checkpoint', 'segments', ...optional] as const, 'a bundle')
  const checkpoint = string(top.checkpoint, 'checkpoint')
  // As UTF-8 every lone surrogate is the same, so that the checkpoint would have several spellings.
  if (!checkpoint.isWellFormed()) throw new MalformedError('the checkpoint is not well-formed Unicode')
  const bundle: Bundle = {
    checkpoint,
    segments: parseSegments(top.segments, 'segments'),
    erasures: optional.includes('erasures') ? parseSegments(top.erasures, 'erasures') : [],
    context: optional.includes('context') ? parseSegments(top.context, 'context') : [],
  }
  checkSpelling(bundle, bytes)
  return bundle
}

function parseSegments(value: unknown, what: string): BundleSegment[] {
  return array(value, what).map((item, at) => {
    const segment = members(item, ['first', 'entries', 'proof', 'payload'], `${what}[${at}]`)
    if (!Number.isSafeInteger(segment.first) || (segment.first as number) < 0)
      throw new MalformedError('first is not a leaf index')
    return {
      first: segment.first as number,
      entries: array(segment.entries, 'entries').map((one) =>
        parseBase64(string(one, 'an entry'), 'an entry'),
      ),
      proof: array(segment.proof, 'proof').map((one) => parseBase64(string(one, 'a hash'), 'a hash', 32)),
      payload: parseBase64(string(segment.payload, 'payload'), 'payload'),
    }
  })
}

/** What is of another version of this format may be good: it is not for this one to say. */
function checkFormat(json: unknown): void {
  const format = typeof json === 'object' && json !== null && 'format' in json ? json.format : undefined
  if (format === BUNDLE_FORMAT) return
  if (typeof format === 'string' && FORMATS.test(format))
    throw new VerificationError(
      'unsupported',
      'format',
      `${format} is not known to this version: could not check`,
    )
  throw new MalformedError(`a bundle's format is not ${BUNDLE_FORMAT}`)
}

function checkSpelling(bundle: Bundle, bytes: Uint8Array): void {
  let at = 0
  for (const piece of spell(bundle)) {
    for (let i = 0; i < piece.length; i++)
      if (piece[i] !== bytes[at++]) throw new MalformedError('a bundle is not in canonical form')
  }
  if (at !== bytes.length) throw new MalformedError('a bundle is not in canonical form')
}

function members<K extends string>(value: unknown, names: readonly K[], what: string): Record<K, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new MalformedError(`${what} is not an object`)
  for (const name of names) if (!Object.hasOwn(value, name)) throw new MalformedError(`${what} lacks ${name}`)
  if (Object.keys(value).length !== names.length) throw new MalformedError(`${what} has an unknown member`)
  return value as Record<K, unknown>
}

function array(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) throw new MalformedError(`${what} is not an array`)
  return value
}

function string(value: unknown, what: string): string {
  if (typeof value !== 'string') throw new MalformedError(`${what} is not a string`)
  return value
}
