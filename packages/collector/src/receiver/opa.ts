/**
 * Open Policy Agent's decision logs, over its decision log service API
 * (https://www.openpolicyagent.org/docs/management-decision-logs): a JSON array of decisions, usually gzipped.
 *
 * Each decision becomes a log record about governance. Its input and result are not kept, since they may hold
 * anything: the outcome is read from the result, and a digest of the whole entry ties the record to what OPA sent.
 */
import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { parseHex, parseUtf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import {
  encodeLogRequest,
  type Fields,
  idsOf,
  isFields,
  type PushedRecord,
  type SpanIds,
  textOf,
} from './log-request.ts'
import { type Ingest, Refusal } from './receiver.ts'
import { bearerCheck, mediaOf, type Route } from './route.ts'
import { formatStatus, httpStatus } from './status.ts'

export interface OpaOptions {
  readonly ingest: Ingest
  /** The bearer token that OPA is configured with. */
  readonly token: string
  /** Who has that token, as receipts name it. */
  readonly peer: string
  readonly maxBytes: number
}

/** An entry takes some hundred bytes; an empty object two. */
const MAX_DECISIONS = 65_536

export function opaRoute({ ingest, token, peer, maxBytes }: OpaOptions): Route {
  const authenticate = bearerCheck(token)
  return {
    maxBytes,
    admit(headers: IncomingHttpHeaders) {
      authenticate(headers)
      if (mediaOf(headers) !== 'application/json')
        throw new Refusal('unsupported', 'the content type is not application/json')
    },
    async take(body, onGone) {
      const request = opaRequest(body)
      if (request !== undefined)
        await ingest({ receiver: 'opa', signal: 'logs', body: request, tracked: false, peer, onGone })
      return { status: 200, content: '{}' }
    },
    refuse: (refusal) => ({ status: httpStatus(refusal), content: formatStatus(refusal) }),
  }
}

/**
 * The decisions of one upload as an `ExportLogsServiceRequest`; undefined for none. Throws a MalformedError for what
 * is not a JSON array of decisions, each with its id.
 */
export function opaRequest(body: Uint8Array): Uint8Array | undefined {
  const text = parseUtf8(body, 'the body')
  const records: PushedRecord[] = []
  let labels: Fields = {}
  for (const part of splitArray(text)) {
    const entry = parseEntry(part)
    if (isFields(entry.labels)) labels = entry.labels
    records.push(decisionOf(entry, `sha256:${createHash('sha256').update(part).digest('hex')}`))
  }
  if (records.length === 0) return undefined
  return encodeLogRequest(
    'opa',
    {
      'service.name': 'opa',
      'service.version': textOf(labels.version),
      'service.instance.id': textOf(labels.id),
    },
    records,
  )
}

function parseEntry(text: string): Fields {
  let entry: unknown
  try {
    entry = JSON.parse(text)
  } catch (error) {
    throw new MalformedError('a decision is not JSON', undefined, { cause: error })
  }
  if (!isFields(entry)) throw new MalformedError('a decision is not a JSON object')
  return entry
}

function decisionOf(entry: Fields, digest: string): PushedRecord {
  const id = textOf(entry.decision_id)
  if (id === undefined) throw new MalformedError('a decision has no decision_id')
  const labels = isFields(entry.labels) ? entry.labels : {}
  return {
    eventName: 'governance.decision',
    time: timeOf(entry.timestamp),
    ids: spanOf(entry) ?? idsOf('opa', id),
    attributes: {
      'governance.decision.id': id,
      'governance.decision.outcome': outcomeOf(entry),
      'governance.decision.errors.count': isFields(entry.error) ? 1 : undefined,
      'governance.decision.engine.name': 'opa',
      'governance.decision.engine.version': textOf(labels.version),
      'governance.policy.id': textOf(entry.path),
      ...bundlesOf(entry),
      'governance.corroboration.source': 'opa',
      'governance.corroboration.digest': digest,
    },
  }
}

/** As the OPA hooks have it: names that say what a boolean under them means. */
const MEANINGS: ReadonlyMap<string, 'allow' | 'deny'> = new Map([
  ...['allow', 'allowed', 'is_allowed', 'permit', 'permitted', 'is_permitted'].map(
    (name) => [name, 'allow'] as const,
  ),
  ...['authorized', 'is_authorized'].map((name) => [name, 'allow'] as const),
  ...['deny', 'denied', 'is_denied', 'forbid', 'forbidden', 'is_forbidden'].map(
    (name) => [name, 'deny'] as const,
  ),
])

/**
 * The outcome by the rule of the OPA hooks, or their words would contradict each other: a boolean means what the last
 * part of its path calls it, or the name of the member that it is; any other document is `conditional`, since what it
 * means is known to the application alone. Undefined where OPA was told to erase or mask what the outcome is read from:
 * it is not guessed.
 */
function outcomeOf({ path, result, error, erased, masked }: Fields): string | undefined {
  if (error !== undefined && error !== null) return 'error'
  const hidden = [...hiddenIn(erased), ...hiddenIn(masked)]
  if (hidden.length > 0) {
    if (!isFields(result) || hidden.some((name) => MEANINGS.has(name) || SAYING.has(name))) return undefined
    if ('decision' in result && hidden.some((name) => name !== 'context')) return undefined
  }
  if (result === undefined) return 'not_applicable'
  const name = typeof path === 'string' ? path.slice(path.lastIndexOf('/') + 1) : ''
  if (!isFields(result)) return judgement(name, result) ?? 'conditional'
  if (typeof result.decision === 'boolean' && isAuthZen(result)) return result.decision ? 'allow' : 'deny'
  const said = new Set<string>()
  for (const member of MEANINGS.keys()) {
    const one = judgement(member, result[member])
    if (one !== undefined) said.add(one)
  }
  const [outcome = 'conditional'] = said
  return said.size > 1 ? 'conditional' : outcome
}

/** Undefined: it says neither. What is not denied need not be allowed; a set of reasons under `deny` denies if it has any. */
function judgement(name: string, value: unknown): 'allow' | 'deny' | undefined {
  const meaning = MEANINGS.get(name)
  if (value === true) return meaning
  if (meaning === 'allow') return value === false ? 'deny' : undefined
  return meaning === 'deny' && Array.isArray(value) && value.length > 0 ? 'deny' : undefined
}

/** An answer as AuthZEN has it, where `true` permits. */
function isAuthZen(result: Fields): boolean {
  return Object.keys(result).every((name) => name === 'decision' || name === 'context')
}

/** The whole result, and AuthZEN's decision. */
const SAYING: ReadonlySet<string> = new Set(['', 'decision'])

/** Members of the result into which the JSON pointers go that OPA erased or masked; empty for the whole of it. */
function hiddenIn(pointers: unknown): string[] {
  const texts: unknown[] = Array.isArray(pointers) ? pointers : []
  return texts.flatMap((one) => {
    const found = typeof one === 'string' ? /^\/result(?:\/([^/]*)|$)/.exec(one) : null
    return found === null ? [] : [found[1] ?? '']
  })
}

/** The bundles that were active, and their revisions, spelled as the OPA hooks spell them. */
function bundlesOf({ bundles, revision }: Fields): PushedRecord['attributes'] {
  const names = isFields(bundles) ? Object.keys(bundles).sort().slice(0, 64) : []
  if (names.length === 0) return { 'governance.policy.version': textOf(revision) }
  const revisions = names.map((name) => {
    const bundle = (bundles as Fields)[name]
    return (isFields(bundle) ? textOf(bundle.revision, 1024) : undefined) ?? ''
  })
  const version =
    names.length === 1 ? revisions[0] : names.map((name, at) => `${name}@${revisions[at]}`).join(' ')
  return {
    'governance.policy.set.id': names.join(' '),
    'governance.policy.version': revisions.some((one) => one !== '') ? version : undefined,
  }
}

/** The span in which OPA decided, where it traces. */
function spanOf({ trace_id: traceId, span_id: spanId }: Fields): SpanIds | undefined {
  if (typeof traceId !== 'string' || typeof spanId !== 'string') return undefined
  if (!/^(?!0{32})[0-9a-f]{32}$/.test(traceId) || !/^(?!0{16})[0-9a-f]{16}$/.test(spanId)) return undefined
  return { traceId: parseHex(traceId), spanId: parseHex(spanId) }
}

const TIMESTAMP = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/

/** An RFC 3339 time in nanoseconds since 1970; 0 for what is none. */
function timeOf(value: unknown): bigint {
  const match = typeof value === 'string' ? TIMESTAMP.exec(value) : null
  const seconds = match === null ? Number.NaN : Date.parse(`${match[1]}${match[3]}`) / 1000
  if (!(seconds >= 0)) return 0n
  return BigInt(seconds) * 1_000_000_000n + BigInt((match![2] ?? '').padEnd(9, '0'))
}

/** The texts of the members of a JSON array: the bytes that were sent, for their digests. Checks no more than that. */
function splitArray(text: string): string[] {
  const parts: string[] = []
  let at = skipSpace(text, 0)
  if (text[at] !== '[') throw new MalformedError('the body is not a JSON array')
  at = skipSpace(text, at + 1)
  const isEmpty = text[at] === ']'
  while (!isEmpty) {
    const end = memberEnd(text, at)
    if (parts.length === MAX_DECISIONS) throw new MalformedError(`over ${MAX_DECISIONS} decisions at once`)
    parts.push(text.slice(at, end).trimEnd())
    if (text[end] === ']') {
      at = end
      break
    }
    at = skipSpace(text, end + 1)
  }
  if (skipSpace(text, at + 1) !== text.length)
    throw new MalformedError('the body goes on after its JSON array')
  return parts
}

/** Where the comma or bracket after the member at `at` is. */
function memberEnd(text: string, start: number): number {
  let depth = 0
  for (let at = start; at < text.length; at++) {
    const char = text[at]
    if (char === '"') at = stringEnd(text, at)
    else if (char === '{' || char === '[') depth++
    else if ((char === ',' || char === ']') && depth === 0) return at
    else if (char === '}' || char === ']') depth--
  }
  throw new MalformedError('the JSON array is cut off')
}

/** Where the quote is that ends the string at `start`. */
function stringEnd(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === '"') return at
  }
  return text.length
}

function skipSpace(text: string, start: number): number {
  let at = start
  while (at < text.length && ' \t\r\n'.includes(text[at]!)) at++
  return at
}
