/**
 * Writes the vectors of records, commitments and payloads. Run again, they come out the same:
 *
 *     node --conditions=source test/vectors/records/make.ts
 *
 * Entries, receipts and commitments are put together here by hand and with node:crypto. Payloads, facts and segments
 * come from the code under test; check.py derives them once more from the pages in docs/formats alone.
 */
import { RULESET_TEXT } from '@rootspan/lineage/continuity/ruleset'
import { factsOf } from '@rootspan/lineage/governance/facts'
import { Kind } from '@rootspan/lineage/governance/kind'
import { decodeEither, LOG_RECORD } from '@rootspan/lineage/otlp/log-record'
import { Committer } from '@rootspan/lineage/record/commitment'
import { nameOf, parseEntry } from '@rootspan/lineage/record/entry'
import { TraceHistory } from '@rootspan/lineage/record/history'
import type { SpanInput } from '@rootspan/lineage/record/order'
import { Closed, encodePayload, parsePayload } from '@rootspan/lineage/record/payload'
import { LeafSink } from '@rootspan/lineage/record/leaf-sink'
import { deriveSegment } from '@rootspan/lineage/record/segment'
import { type AttributeValue, DECIDED, EPOCH, encodeLogRecord, encodeSpan, GOVERNED, JOINED, type SpanSpec, STARTED, TestLog, traceIdOf } from '../../support/executions.ts'
import { bytesOf, field, fixed64, hex, number, sha, sized, text, u16, u32, write } from './wire.ts'

const NOTHING = new Uint8Array(0)

// ---- entries

const TRACE = '0102030405060708090a0b0c0d0e0f10'
const SPAN = '1112131415161718'
const ABOVE = '2122232425262728'
const h = (byte: string): string => byte.repeat(32)
const cause = (role: number, leaf: string, origin?: string): string =>
  field(9, number(1, role) + field(2, leaf) + (origin === undefined ? '' : text(3, origin)))
const ids = field(4, TRACE) + field(5, SPAN)
const born = (kind: number, state: number, more: { above?: string; leaf?: string } = {}): string =>
  number(2, kind) +
  ids +
  (more.above === undefined ? '' : field(6, more.above)) +
  number(7, state) +
  (more.leaf === undefined ? '' : field(8, more.leaf)) +
  field(10, h('ee'))
const fact = (kind: number): string => number(2, kind) + ids
const about = (persistence: number, before = ''): string =>
  number(2, 7) + field(4, TRACE) + before + number(12, persistence)
const seal = (segment: number | bigint, leaves: number | bigint): string =>
  number(2, 7) +
  field(4, TRACE) +
  (BigInt(segment) === 0n ? '' : cause(7, h('05'))) +
  field(11, h('cc')) +
  number(12, 1) +
  (BigInt(segment) === 0n ? '' : number(13, segment)) +
  (BigInt(leaves) === 0n ? '' : number(14, leaves))

const validEntries: [string, string][] = [
  ['a root span', born(8, 1)],
  ['a linked span', born(8, 2, { above: ABOVE, leaf: h('aa') })],
  ['an awaiting request', born(1, 3, { above: ABOVE })],
  ['a remote action', born(5, 4, { above: ABOVE })],
  ['a log record', born(1, 5)],
  ['a span with a log record', born(8, 1).replace(field(10, h('ee')), cause(10, h('01')) + field(10, h('ee')))],
  ['a tenant', number(2, 8) + text(3, 'größe') + ids + number(7, 1) + field(10, h('ee'))],
  [
    'a span with causes and claims',
    number(2, 5) +
      ids +
      number(7, 1) +
      cause(1, h('01')) +
      cause(2, h('02'), 'other.example/log/v0') +
      field(10, h('ee')) +
      field(11, h('cc')),
  ],
  ['an authorization', fact(2) + field(11, h('cc'))],
  ['a decision on an authorization', fact(3) + cause(1, h('01')) + field(11, h('cc'))],
  ['a transition', fact(6) + field(11, h('cc'))],
  ['a request as a fact', fact(1) + field(11, h('cc'))],
  ['a finding', number(2, 4) + field(4, TRACE) + cause(9, h('01')) + cause(9, h('02')) + field(11, h('cc'))],
  ['a joined record', about(3, cause(4, h('01')) + cause(2, h('02')) + field(11, h('cc')))],
  ['an adopted record', about(2, cause(8, h('01')) + field(11, h('cc')))],
  ['a gap', about(4, field(11, h('cc')))],
  ['a late record', about(5, field(11, h('cc')))],
  ['the seal of a first segment', seal(0, 1)],
  ['the seal of a later segment', seal(300, 70_000)],
  ['the seal of a segment of nothing else', seal(1, 0)],
  ['the largest numbers', seal(2n ** 53n - 1n, 2n ** 53n - 1n)],
  ['about the log', number(2, 7) + field(11, h('cc')) + number(12, 8)],
  ['32 causes', number(2, 4) + field(4, TRACE) + Array.from({ length: 32 }, (_, at) => cause(9, h(hex(Uint8Array.of(at))))).join('')],
  ['an origin of 200 bytes', fact(3) + cause(1, h('01'), 'o'.repeat(200))],
]

const invalidEntries: [string, string, string?][] = [
  ['nothing at all', ''],
  ['no kind', field(4, TRACE)],
  ['kind 0', number(2, 0)],
  ['an unknown kind', number(2, 9) + ids],
  ['version 0 in words', number(1, 0) + born(8, 1)],
  ['a newer version', number(1, 1) + born(8, 1), 'unsupported'],
  ['a newer version and then anything', `${number(1, 2)}ffff`, 'unsupported'],
  ['a version of 64 bits', number(1, 2n ** 64n - 1n), 'unsupported'],
  ['a newer version over 4 KiB', number(1, 1) + field(20, '00'.repeat(5000)), 'unsupported'],
  ['the kind twice', number(2, 8) + born(8, 1)],
  ['the trace id twice', number(2, 3) + field(4, TRACE) + ids],
  ['fields out of order', ids + number(2, 3)],
  ['an unknown field', fact(3) + number(15, 1)],
  ['a varint longer than it has to be', `108200${ids}`],
  ['a tag longer than it has to be', `900002${ids}`],
  ['cut off', born(8, 1).slice(0, -2)],
  ['a byte too many', `${born(8, 1)}00`],
  ['an empty tenant', number(2, 3) + text(3, '') + ids],
  ['a tenant that is no UTF-8', number(2, 3) + field(3, 'c3') + ids],
  ['a trace id of 15 bytes', number(2, 3) + field(4, TRACE.slice(2)) + field(5, SPAN)],
  ['a span id of 7 bytes', number(2, 3) + field(4, TRACE) + field(5, SPAN.slice(2))],
  ['a span id without a trace id', number(2, 3) + field(5, SPAN)],
  ['a span without a parent state', fact(8)],
  ['a span without evidence', fact(8) + number(7, 1)],
  ['a span without a span id', number(2, 8) + field(4, TRACE) + number(7, 1) + field(10, h('ee'))],
  ['parent state 6', born(8, 6)],
  ['a log record with a parent', born(8, 5, { above: ABOVE })],
  ['a log record with a parent leaf', born(8, 5, { leaf: h('aa') })],
  ['a root with a parent', born(8, 1, { above: ABOVE })],
  ['a root with a parent leaf', born(8, 1, { leaf: h('aa') })],
  ['awaiting nobody', born(8, 3)],
  ['awaiting with a parent leaf', born(8, 3, { above: ABOVE, leaf: h('aa') })],
  ['linked without a leaf', born(8, 2, { above: ABOVE })],
  ['linked without a parent', born(8, 2, { leaf: h('aa') })],
  ['a decision with a parent state', born(3, 1)],
  ['a decision with evidence', fact(3) + field(10, h('ee'))],
  ['a parent without a state', fact(3) + field(6, ABOVE)],
  ['a cause without a role', fact(3) + field(9, field(2, h('01')))],
  ['a cause without a leaf', fact(3) + field(9, number(1, 1))],
  ['a cause of role 11', fact(3) + cause(11, h('01'))],
  ['a cause with an empty origin', fact(3) + cause(1, h('01'), '')],
  ['a cause with an unknown field', fact(3) + field(9, number(1, 1) + field(2, h('01')) + number(4, 1))],
  ['a cause with its fields out of order', fact(3) + field(9, field(2, h('01')) + number(1, 1))],
  ['33 causes', number(2, 4) + field(4, TRACE) + cause(9, h('01')).repeat(33)],
  ['over 4 KiB', fact(3) + cause(1, h('01'), 'o'.repeat(4096))],
  ['persistence that states nothing', number(2, 7) + field(4, TRACE)],
  ['persistence 11', about(11)],
  ['a decision that is a seal', fact(3) + number(12, 1) + number(14, 1)],
  ['a seal of nothing', about(1)],
  ['a seal of 0 leaves', about(1) + number(14, 0)],
  ['segment 0 in words', about(1) + number(13, 0) + number(14, 1)],
  ['a gap with a segment number', about(4) + number(13, 1)],
  ['a gap that counts leaves', about(4) + number(14, 1)],
  ['2^53 leaves', seal(1, 2n ** 53n)],
]

function record(entry: string): Record<string, unknown> {
  const parsed = parseEntry(new Uint8Array(bytesOf(entry)))
  const shown: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(parsed)) {
    if (value instanceof Uint8Array) {
      if (value.length > 0) shown[key] = hex(value)
    } else if (Array.isArray(value)) {
      if (value.length > 0) shown[key] = value.map((one) => ({ ...one, leaf: hex(one.leaf) }))
    } else if (value !== 0 && value !== '') shown[key] = value
  }
  return shown
}

write('entries', {
  valid: validEntries.map(([name, entry]) => ({
    name,
    entry,
    leafHash: hex(sha(Uint8Array.of(0), bytesOf(entry))),
    record: record(entry),
  })),
  invalid: invalidEntries.map(([name, entry, result = 'malformed']) => ({ name, result, entry })),
})

// ---- receipts

const receipt = (receiver: string, peer: string, tenant: string, receivedAt: bigint, tracked: boolean, logs = false): string =>
  (receiver === '' ? '' : text(1, receiver)) +
  (peer === '' ? '' : text(2, peer)) +
  (tenant === '' ? '' : text(3, tenant)) +
  (receivedAt === 0n ? '' : fixed64(4, receivedAt)) +
  (tracked ? number(5, 1) : '') +
  (logs ? number(6, 1) : '')
const receipts: [string, string, string, string, bigint, boolean, boolean?][] = [
  ['over gRPC', 'otlp/grpc', '', '', EPOCH, false],
  ['over HTTP, tracked', 'otlp/http', '', '', EPOCH + 1n, true],
  ['with everything', 'otlp/http+json', 'spiffe://example/büro', 'acme', 2n ** 64n - 1n, true],
  ['log records', 'otlp/grpc', '', '', EPOCH, false, true],
  ['of a transmitter', 'ssf', 'https://idp.example', '', EPOCH, true, true],
  ['empty', '', '', '', 0n, false],
]
write('receipts', {
  valid: receipts.map(([name, receiver, peer, tenant, receivedAt, tracked, logs]) => ({
    name,
    bytes: receipt(receiver, peer, tenant, receivedAt, tracked, logs),
    receipt: { receiver, peer, tenant, receivedAt: String(receivedAt), tracked, signal: logs ? 'logs' : 'traces' },
  })),
  invalid: [
    ['fields out of order', text(2, 'p') + text(1, 'r')],
    ['the tenant twice', text(3, 'a') + text(3, 'b')],
    ['an empty tenant', text(3, '')],
    ['a peer that is no UTF-8', field(2, 'ff')],
    ['a time as a varint', number(4, 1)],
    ['a time of zero in words', fixed64(4, 0n)],
    ['a mark of 0', number(5, 0)],
    ['a mark of 2', number(5, 2)],
    ['a signal of 0', number(6, 0)],
    ['a signal of 2', number(6, 2)],
    ['an unknown field', text(1, 'r') + number(7, 1)],
    ['cut off', text(1, 'otlp/grpc').slice(0, -2)],
  ].map(([name, bytes]) => ({ name, bytes })),
})

// ---- commitments

const SEED = sha('a request seed')
const saltOf = (seed: Uint8Array, index: number, ordinal: number): Buffer =>
  sha('rs/salt\n', seed, u32(index), u32(ordinal)).subarray(0, 16)
const contextOf = (...parts: [Uint8Array, Uint8Array, Uint8Array]): Buffer =>
  sha('rootspan/context/v0\n', ...parts.map(sized))
const traceSeed = (seed: Uint8Array, tenant: string, trace: string): Buffer =>
  sha('rs/t\n', seed, u16(Buffer.from(tenant).length), tenant, bytesOf(trace))
const OWN = traceSeed(SEED, '', TRACE)

const places: [number, number][] = [[0, 0], [1, 0], [0, 1], [511, 3], [0xffff_ffff, 0], [7, 0x8000_0000], [7, 0xffff_ffff]]
const evidences: [number, Uint8Array, Uint8Array, Uint8Array, Uint8Array][] = [
  [0, bytesOf(receipt('otlp/grpc', '', '', EPOCH, false)), bytesOf('0a00'), bytesOf('0a0474657374'), encodeSpan(1, { id: 1 })],
  [3, bytesOf(receipt('otlp/http', '', '', EPOCH, true)), NOTHING, NOTHING, encodeSpan(1, { id: 2, parent: 1 })],
  [0, NOTHING, NOTHING, NOTHING, NOTHING],
  [9, NOTHING, NOTHING, NOTHING, Buffer.alloc(700, 7)],
]
const claimCases: [number, number, Uint8Array, string][] = [
  [0, 1, Buffer.from('governance.decision.id'), '01642d31'],
  [0, 2, Buffer.from('governance.decision.outcome'), '01616c6c6f77'],
  [4, 1, Buffer.from('governance.policy.version'), '030000000000000003'],
  [4, 0x8000_0000, Buffer.from('rootspan.join.method'), '016964'],
  [0, 1, NOTHING, '00'],
  [0, 1, Buffer.from([0x67, 0xff]), '01c328'],
]
const digests = claimCases.map(([index, ordinal, key, value]) =>
  sha('rootspan/claim/v0\n', saltOf(OWN, index, ordinal), u16(key.length), key, bytesOf(value)),
)
write('commitments', {
  traceSeeds: [['', TRACE], ['acme', TRACE], ['größe', TRACE], ['', 'ff'.repeat(16)], ['t'.repeat(255), TRACE]].map(
    ([tenant, traceId]) => ({ requestSeed: hex(SEED), tenant, traceId, seed: hex(traceSeed(SEED, tenant!, traceId!)) }),
  ),
  salts: places.map(([index, ordinal]) => ({ seed: hex(OWN), index, ordinal, salt: hex(saltOf(OWN, index, ordinal)) })),
  evidence: evidences.map(([index, receipt, resource, scope, span]) => {
    const context = contextOf(receipt, resource, scope)
    const evidence = sha('rootspan/evidence/v0\n', saltOf(OWN, index, 0), context, sized(span))
    const inputs = { receipt: hex(receipt), resource: hex(resource), scope: hex(scope), span: hex(span) }
    return { seed: hex(OWN), index, ...inputs, context: hex(context), evidence: hex(evidence) }
  }),
  claims: claimCases.map(([index, ordinal, key, value], at) => ({
    seed: hex(OWN),
    index,
    ordinal,
    key: hex(key),
    value,
    claim: hex(digests[at]!),
  })),
  claimSets: [[], [0], [0, 1], [1, 0], [5, 4, 3, 2, 1, 0]].map((set) => {
    const chosen = set.map((at) => digests[at]!)
    const digest = sha('rootspan/claims/v0\n', u32(chosen.length), ...chosen.toSorted(Buffer.compare))
    return { claims: chosen.map(hex), digest: hex(digest) }
  }),
})

// ---- facts

const g = (values: Record<string, AttributeValue>): Record<string, AttributeValue> =>
  Object.fromEntries(Object.entries(values).map(([key, value]) => [`governance.${key}`, value]))
const factSpans: [string, SpanSpec][] = [
  ['none', { id: 1, attributes: { 'http.route': '/' } }],
  ['every group', GOVERNED[0]!],
  ['an action', GOVERNED[1]!],
  ['a request', { id: 1, attributes: g({ 'execution.id': 'e' }) }],
  ['a decision without an outcome is a reference', { id: 1, attributes: g({ 'decision.id': 'd', 'policy.id': 'p' }) }],
  ['groups that share a kind', { id: 1, attributes: g({ 'approval.id': 'a', 'delegation.depth': 2, 'authorization.id': 'b' }) }],
  ['unknown groups are the span’s own', { id: 1, attributes: g({ 'emitter.seq': 5, '': 'x', __proto__x: 'y' }) }],
  ['marked', { id: 1, attributes: g({ 'record.kind': 'action', 'execution.id': 'e' }) }],
  ['marked as what a span cannot be', { id: 1, attributes: g({ 'record.kind': 'decision' }) }],
  [
    'events',
    {
      id: 1,
      attributes: g({ 'transition.to': 't' }),
      events: [
        { name: 'governance.decision', attributes: { ...g({ 'decision.id': 'd' }), other: 'x' } },
        { name: 'evaluated', attributes: g({ 'policy.id': 'p' }) },
        { name: 'governance.decision', attributes: g({ 'record.kind': 'verification' }) },
        { name: 'governance.heartbeat', attributes: g({ 'emitter.seq': 1 }) },
        { name: 'exception', attributes: { 'exception.type': 'E' } },
        { name: 'governance.action.started' },
      ],
    },
  ],
  [
    'every type of value',
    {
      id: 1,
      attributes: g({
        'action.a': true,
        'action.b': -5,
        'action.c': 1.5,
        'action.d': Uint8Array.of(1, 2),
        'action.e': ['x', false, [2n ** 62n]],
        'action.f': '',
      }),
    },
  ],
  ['the start of an execution, as a log record', STARTED],
  ['a decision, as a log record', DECIDED],
  ['a heartbeat, as a log record', { id: 1, log: true, name: 'governance.heartbeat', attributes: { ...g({ 'emitter.seq': 1 }), other: 'x' } }],
  ['an action, as a log record', { id: 1, log: true, name: 'governance.action.completed', attributes: g({ 'action.name': 'a', 'decision.id': 'd' }) }],
  ['a log record of a kind that it says', { id: 1, log: true, name: 'governance.event', attributes: g({ 'record.kind': 'verification' }) }],
  ['a log record named by an attribute', { id: 1, log: true, name: '', attributes: { 'event.name': 'governance.transition', ...g({ 'transition.to': 't' }) } }],
]
write(
  'facts',
  factSpans.map(([name, spec]) => {
    const span = spec.log ? encodeLogRecord(1, spec) : encodeSpan(1, spec)
    const facts = factsOf(decodeEither(spec.log ? LOG_RECORD : 0, span))
    const shown = (of: { kind: Kind; claims: readonly { keyBytes: Uint8Array; value: Uint8Array }[] }) => ({
      kind: nameOf(Kind, of.kind),
      claims: of.claims.map(({ keyBytes, value }) => [hex(keyBytes), hex(value)]),
    })
    return { name, ...(spec.log && { log: true }), span: hex(span), own: shown(facts), facts: facts.facts.map(shown) }
  }),
)

// ---- segments

interface Case {
  readonly name: string
  readonly tenant?: string
  /** For each segment its requests, and why it was closed. */
  readonly segments: readonly {
    /** Of its judgement: nanoseconds after {@link EPOCH}; absent: its number. */
    readonly at?: bigint
    readonly closed?: Closed
    readonly requests: readonly (readonly SpanSpec[])[]
  }[]
}

const once = (name: string, ...specs: SpanSpec[]): Case => ({ name, segments: [{ requests: [specs] }] })
const many = (count: number, spec: (at: number) => SpanSpec): SpanSpec[] => Array.from({ length: count }, (_, at) => spec(at))
const allow = g({ 'decision.outcome': 'allow' })
const act = g({ 'action.name': 'a' })

const said = (id: number, name: string, start: number, attributes: Record<string, AttributeValue> = {}): SpanSpec => ({ id, log: true, name, start, attributes })
const cases: Case[] = [
  once('one span', { id: 1 }),
  { name: 'a tenant', tenant: 'größe', segments: [{ requests: [[{ id: 1 }, { id: 2, parent: 1 }]] }] },
  once('order', { id: 9, start: 5 }, { id: 2, parent: 9, start: 7 }, { id: 3, parent: 9, start: 7 }, { id: 4, parent: 2, start: 1 }, { id: 1, start: 5 }, { id: 5, parent: 77, start: 6 }),
  {
    name: 'two services in two requests',
    segments: [
      {
        requests: [
          [{ id: 3, parent: 2, service: 'orders', kind: 2, flags: 0x301 }, { id: 4, parent: 3, service: 'orders' }],
          [{ id: 1, service: 'gateway', kind: 2 }, { id: 2, parent: 1, service: 'gateway', kind: 3 }],
        ],
      },
    ],
  },
  once('facts', ...GOVERNED),
  once('joins', ...JOINED),
  once('two decisions on one span, and 40 facts', { id: 1, events: many(40, (at) => ({ id: at })).map(({ id }) => ({ name: Number(id) % 2 === 0 ? 'governance.authorization' : 'governance.decision' })) }, { id: 2, parent: 1, attributes: act }),
  once('siblings', { id: 1 }, { id: 2, parent: 1, start: 10, end: 20, attributes: allow }, { id: 3, parent: 1, start: 12, end: 20, attributes: { ...allow, ...g({ 'action.name': 'b' }) } }, { id: 4, parent: 1, start: 20, attributes: act }, { id: 5, parent: 1, start: 19, attributes: act }, { id: 6, parent: 1, start: 30, attributes: g({ 'action.name': 'b' }) }),
  once(
    'decisions in time',
    { id: 1, start: 0, events: [{ name: 'governance.decision', at: 5 }] },
    { id: 2, parent: 1, start: 1, attributes: { 'governance.decision.outcome': 'deny' }, events: [{ name: 'governance.decision', at: 2_700_000 }, { name: 'governance.decision', at: 900_000 }, { name: 'governance.decision', at: 900_000 }] },
    { id: 3, parent: 2, start: 899_999, attributes: act },
    { id: 4, parent: 2, start: 900_000, attributes: act },
    { id: 5, parent: 2, start: 1_999_999, attributes: act },
    { id: 6, parent: 2, start: 2_000_000, attributes: act },
    { id: 7, parent: 1, start: 4, events: [{ name: 'governance.decision', at: 3_000_000 }, { name: 'governance.decision', at: 2_500_000 }] },
    { id: 8, parent: 7, start: 2_400_001, attributes: act },
    { id: 9, start: 2_300_001, links: [7], attributes: act },
    { id: 10, start: 2_600_001, links: [7], attributes: act },
    { id: 11, start: 4_000_001, events: [{ name: 'governance.decision', at: 5_000_000 }, { name: 'governance.decision', at: 4_500_000, attributes: g({ 'action.digest': 'x' }) }] },
    { id: 12, parent: 11, start: 4_000_002, attributes: act },
    { id: 13, parent: 11, start: 4_000_003, attributes: { ...act, ...g({ 'action.digest': 'x' }) } },
    { id: 14, parent: 11, start: 4_000_003, end: 4_000_004, attributes: allow },
    { id: 15, parent: 11, start: 4_000_004, attributes: act },
  ),
  { name: 'remote and awaiting, drained', segments: [{ closed: Closed.drained, requests: [[{ id: 2, parent: 1 }, { id: 3, parent: 9, kind: 2 }, { id: 4, parent: 9, kind: 1, flags: 0x300 }, { id: 5, parent: 9, kind: 2, flags: 0x100 }, { id: 6, parent: 8 }]] }] },
  {
    name: 'late and adopted',
    segments: [
      { requests: [[{ id: 2, parent: 1 }, { id: 3, parent: 1, kind: 2 }, { id: 4, parent: 2 }]] },
      { requests: [[{ id: 1, kind: 3 }], [{ id: 5, parent: 4 }]] },
      { closed: Closed.cut, requests: [[{ id: 6, parent: 1 }]] },
      { requests: [[{ id: 7, parent: 6 }]] },
    ],
  },
  once('cycles', { id: 1, parent: 3, start: 5 }, { id: 2, parent: 1, start: 5 }, { id: 3, parent: 2, start: 4 }, { id: 4, parent: 1, start: 0 }, { id: 9, parent: 9, kind: 2, start: 9 }, { id: 10, parent: 9, start: 1 }, { id: 11 }),
  { name: 'a cycle over two segments', segments: [{ requests: [[{ id: 1, parent: 2 }, { id: 5, parent: 1 }]] }, { requests: [[{ id: 2, parent: 1 }]] }] },
  {
    name: 'log records before their span, in whatever order they came',
    segments: [
      {
        requests: [
          [{ id: 2, parent: 1, attributes: act, start: 50 }, { id: 1, start: 10 }, { id: 3, parent: 2, start: 60 }],
          [said(1, 'governance.decision', 30, allow), STARTED, said(2, 'governance.action.completed', 70, act)],
          [said(1, 'governance.authorization', 20, g({ 'authorization.id': 'a' })), said(1, 'governance.heartbeat', 90, g({ 'emitter.seq': 1 }))],
        ],
      },
    ],
  },
  {
    name: 'an execution from its start to its end',
    segments: [
      { requests: [[{ ...STARTED, start: 5 }]] },
      { requests: [[{ id: 2, parent: 1, attributes: act }], [DECIDED, said(7, 'governance.transition', 9, g({ 'transition.to': 'x' }))]] },
      { requests: [[{ ...STARTED, start: 5 }, said(1, 'governance.heartbeat', 3_000_000)], [{ id: 3, parent: 7 }]] },
      { requests: [[{ id: 1, start: 4 }, { id: 4, parent: 1 }, { id: 7, start: 3, parent: 1, attributes: allow }]] },
      { requests: [[{ id: 5, parent: 1 }, { id: 6, parent: 2 }]] },
    ],
  },
  {
    name: 'children that waited are adopted by a log record, or by the span beside it',
    segments: [
      { requests: [[{ id: 2, parent: 1 }, { id: 4, parent: 3 }]] },
      { requests: [[said(1, 'governance.execution.started', 7), said(3, 'governance.execution.started', 8)], [{ id: 3, start: 6 }]] },
    ],
  },
  { name: 'many log records of one span', segments: [{ requests: [many(40, (at) => ({ id: at })).map(({ id }) => said(1, 'governance.decision', Number(id), allow)), [{ id: 1, attributes: act }]] }] },
  once(
    'testimony: what contexts of others may take from a record',
    {
      id: 1,
      start: 7,
      end: 9,
      service: 'shop',
      attributes: g({ 'authorization.id': 'a', 'authorization.status': 'revoked', 'authorization.issuer': 'i', 'emitter.id': 'e', 'emitter.seq': 3 }),
      events: [
        { name: 'governance.authorization', at: 8, attributes: g({ 'authorization.status': 'revoked', 'authorization.subject': 's', 'authorization.transaction.id': 't' }) },
        { name: 'governance.authorization', at: 8, attributes: g({ 'authorization.status': 'revoked', 'authorization.fingerprint': 'f', 'authorization.id': 'a' }) },
        { name: 'governance.authorization', at: 8, attributes: g({ 'authorization.status': 'revoked', 'authorization.type': 'jwt' }) },
        { name: 'governance.authorization', at: 8, attributes: g({ 'authorization.status': 'active', 'authorization.transaction.id': 't', 'approval.id': 'p' }) },
        { name: 'governance.approval', at: 8, attributes: g({ 'authorization.type': 'approval', 'authorization.id': 'p' }) },
        { name: 'governance.decision', at: 8, attributes: g({ 'policy.id': 'p', 'policy.version': 'v', 'policy.digest': 'd', 'decision.engine.name': 'opa' }) },
        { name: 'governance.decision', at: 8, attributes: g({ 'policy.id': 'p', 'policy.digest': 'd' }) },
        { name: 'governance.decision', at: 8, attributes: g({ 'policy.id': 'p', 'policy.version': 1 }) },
      ],
    },
    { id: 2, parent: 1, start: 7, end: 9, attributes: g({ 'policy.id': 'p', 'policy.version': 'v', 'decision.outcome': 'allow', 'emitter.id': 'e', 'emitter.seq': 4, 'emitter.prev': 'l' }) },
    { id: 3, parent: 1, attributes: g({ 'emitter.id': 'e', 'emitter.seq': 'x' }) },
    { id: 4, parent: 1, attributes: g({ 'emitter.seq': 1 }) },
  ),
  {
    name: 'judged again though nothing came',
    segments: [
      // 20 seconds before a missing parent counts as missing, and a minute after.
      { at: 10_000_000_000n, requests: [[{ id: 2, parent: 1, attributes: act }]] },
      { at: 70_000_000_000n, closed: Closed.reviewed, requests: [] },
      { at: 80_000_000_000n, requests: [[{ id: 1 }]] },
      { at: 90_000_000_000n, closed: Closed.reviewed, requests: [] },
    ],
  },
  {
    name: 'duplicate and equivocal',
    segments: [
      { requests: [[{ id: 1, start: 0 }, { id: 2, parent: 1 }], [{ id: 2, parent: 1 }, { id: 2, parent: 1, start: 1, name: 'other' }, { id: 2, parent: 1, kind: 3, start: 2 }]] },
      { requests: [[{ id: 2, parent: 1 }, { id: 1, start: 1, name: 'changed' }, { id: 1, start: 2, name: 'again' }, { id: 3, parent: 1 }]] },
    ],
  },
]

write(
  'segments',
  {
  ruleset: RULESET_TEXT.split('\n').slice(0, -1),
  cases: cases.map(({ name, tenant = '', segments }, number) => {
    const log = new TestLog()
    const history = new TraceHistory()
    const committer = new Committer()
    let first = 0
    return {
      name,
      tenant,
      traceId: hex(traceIdOf(number + 1)),
      segments: segments.map(({ at, closed = Closed.settled, requests }, segment) => {
        const inputs = requests.map((specs) => log.request(number + 1, specs, tenant))
        const seed = closed === Closed.reviewed ? { seed: sha(Buffer.from(`review ${segment}`)) } : {}
        const evaluatedAt = EPOCH + (at ?? BigInt(segment))
        const head = { tenant, traceId: traceIdOf(number + 1), closed, evaluatedAt, ...seed }
        const sink = new LeafSink()
        const spans = inputs.flat()
        const derived = deriveSegment(head, spans, history, committer, sink)
        const payload = new Uint8Array(encodePayload({ ...head, segment, ruleset: derived.ruleset }, derived.spans, derived.judgement))
        const entries = split(new Uint8Array(sink.entries))
        history.add(first, entries.map(parseEntry), new Uint8Array(sink.hashes), closed, () => parsePayload(payload))
        first += entries.length
        return {
          closed: nameOf(Closed, closed),
          evaluatedAt: String(head.evaluatedAt),
          ...('seed' in head && { seed: hex(head.seed) }),
          input: inputs.map((request) => ({
            receipt: hex(request[0]!.source.receipt),
            seed: hex(request[0]!.source.seed),
            spans: request.map((span) => ({ ...(span.kind === LOG_RECORD && { log: true }), index: span.index, resource: part(span, 'resource'), scope: part(span, 'scope'), span: part(span, 'span') })),
          })),
          duplicates: derived.duplicates.map(({ span }) => spans.indexOf(span)),
          payload: hex(payload),
          entries: entries.map(hex),
          leafHashes: entries.map((entry) => hex(sha(Uint8Array.of(0), entry))),
        }
      }),
    }
  }),
  }
)

function part(span: SpanInput, name: 'resource' | 'scope' | 'span'): string {
  return hex(span.source.body.subarray(span[`${name}Start`], span[`${name}End`]))
}

function split(bundle: Uint8Array): Uint8Array[] {
  const entries: Uint8Array[] = []
  for (let at = 0; at < bundle.length; ) {
    const start = at + 2
    at = start + bundle[at]! * 256 + bundle[at + 1]!
    entries.push(bundle.slice(start, at))
  }
  return entries
}

// ---- payloads

const plain = encodeSpan(1, { id: 2 })
const rows = (...more: string[]): string => field(1, hex(traceIdOf(1))) + more.join('')
const source = (name = 'r'): string => field(6, text(1, name) + field(2, h('ab')))
const logRow = (record: Uint8Array, more = ''): string => field(9, more + field(6, record))
const spanRow = (more: string, span: Uint8Array = plain): string => field(9, more + field(5, span))
write('payloads', {
  valid: [
    ['one span, and nothing more', rows(source(), spanRow(''))],
    ['a head', rows(text(2, 'größe'), number(3, 300), number(4, 2), fixed64(5, EPOCH), source(), spanRow(''))],
    ['a resource and a scope', rows(source(), field(7, '0a00'), field(8, '0a0174'), spanRow(number(3, 1) + number(4, 1)))],
    ['an empty resource and scope', rows(source(), field(7, ''), field(8, ''), spanRow(number(3, 1) + number(4, 1)))],
    ['two sources', rows(source('a'), source('b'), spanRow(''), spanRow(number(1, 1) + number(2, 70_000), encodeSpan(1, { id: 3 })))],
    ['the same bytes in a row for each request', rows(source('a'), source('b'), field(7, ''), field(7, ''), spanRow(number(3, 1)), spanRow(number(1, 1) + number(3, 2), encodeSpan(1, { id: 3 })))],
    ['a log record', rows(source(), logRow(encodeLogRecord(1, STARTED)))],
    ['a log record and a span', rows(source(), logRow(encodeLogRecord(1, STARTED)), spanRow(number(2, 1)))],
    ['a review', rows(number(3, 1), number(4, 3), source(''))],
    ['an empty receipt', rows(field(6, text(1, '') + field(2, h('ab'))), spanRow(''))],
  ].map(([name, payload]) => ({ name, payload: check(payload!) })),
  invalid: [
    ['nothing at all', ''],
    ['no trace id', source() + spanRow('')],
    ['a trace id of 15 bytes', field(1, TRACE.slice(2)) + source() + spanRow('')],
    ['the trace id twice', rows(rows(source(), spanRow('')))],
    ['fields out of order', rows(spanRow(''), source())],
    ['an empty tenant', rows(text(2, ''), source(), spanRow(''))],
    ['a tenant of 256 bytes', rows(text(2, 't'.repeat(256)), source(), spanRow(''))],
    ['segment 0 in words', rows(number(3, 0), source(), spanRow(''))],
    ['a segment of 33 bits', rows(number(3, 2 ** 32), source(), spanRow(''))],
    ['closed 4', rows(number(4, 4), source(), spanRow(''))],
    ['a review with a span', rows(number(3, 1), number(4, 3), source(''), spanRow(''))],
    ['a review with a receipt', rows(number(3, 1), number(4, 3), source())],
    ['a review with two sources', rows(number(3, 1), number(4, 3), source(''), source(''))],
    ['a source without a span, and no review', rows(number(3, 1), source(''))],
    ['a judgement by no rules', rows(source(), spanRow(''), field(11, '0a00'))],
    ['a context without a judgement', rows(source(), spanRow(''), field(10, '0a00'))],
    ['an unknown field', rows(source(), spanRow(''), number(10, 1))],
    ['a source without a seed', rows(field(6, text(1, 'r')), spanRow(''))],
    ['a source without a receipt', rows(field(6, field(2, h('ab'))), spanRow(''))],
    ['a source that nobody uses', rows(source('a'), source('b'), spanRow(''))],
    ['sources not in the order of their use', rows(source('a'), source('b'), spanRow(number(1, 1)), spanRow('', encodeSpan(1, { id: 3 })))],
    ['a resource that nobody uses', rows(source(), field(7, ''), spanRow(''))],
    ['a scope that nobody uses', rows(source(), field(8, ''), spanRow(''))],
    ['a source that is not there', rows(source(), spanRow(number(1, 1)))],
    ['a resource that is not there', rows(source(), spanRow(number(3, 1)))],
    ['one resource row for two sources', rows(source('a'), source('b'), field(7, ''), spanRow(number(3, 1)), spanRow(number(1, 1) + number(3, 1), encodeSpan(1, { id: 3 })))],
    ['a scope under two resources', rows(source(), field(7, ''), field(7, ''), field(8, ''), spanRow(number(3, 1) + number(4, 1)), spanRow(number(2, 1) + number(3, 2) + number(4, 1), encodeSpan(1, { id: 3 })))],
    ['a span without bytes', rows(source(), field(9, number(2, 1)))],
    ['a row that is both', rows(source(), field(9, field(5, plain) + field(6, encodeLogRecord(1, STARTED))))],
    ['a log record of something else', rows(source(), logRow(encodeLogRecord(1, { id: 1, name: 'user.login' })))],
    ['a log record without a trace', rows(source(), logRow(Buffer.from(text(12, 'governance.decision'), 'hex')))],
    ['a log record that is a span', rows(source(), logRow(plain))],
    ['a span that is none', rows(source(), spanRow('', Uint8Array.of(0x0a)))],
    ['a span with a span id of zeros', rows(source(), spanRow('', encodeSpan(1, { id: 0 })))],
    ['cut off', rows(source(), spanRow('')).slice(0, -2)],
  ].map(([name, payload]) => ({ name, payload })),
})

function check(payload: string): string {
  parsePayload(new Uint8Array(bytesOf(payload)))
  return payload
}
