/**
 * Writes what has to be refused of commitments, facts and segments: each is a valid vector with one mistake in it. With
 * nothing of this project, out of the files that make.ts wrote:
 *
 *     node test/vectors/records/make-refused.ts
 */
import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { bytesOf, field, hex, number, sha, sized, u16, u32, write } from './wire.ts'

// biome-ignore lint/suspicious/noExplicitAny: vectors are as they are
type Case = any
const target = process.argv[2] ?? new URL('.', import.meta.url).pathname
const read = (name: string): Case => JSON.parse(readFileSync(`${target}/${name}.json`, 'utf8'))

// ---- commitments: what comes of a mistake in making them

const { traceSeeds, salts, evidence, claims, claimSets } = read('commitments')
const seeds = traceSeeds[1]
const place = salts[3]
const bytes = (of: Case, ...names: string[]): Buffer[] => names.map((name) => bytesOf(of[name]))
const salt = (of: Case, index = of.index, ordinal = of.ordinal ?? 0): Buffer =>
  sha('rs/salt\n', bytesOf(of.seed), u32(index), u32(ordinal)).subarray(0, 16)
const opened = evidence[0]
const [receipt, resource, scope, span] = bytes(opened, 'receipt', 'resource', 'scope', 'span') as [Buffer, Buffer, Buffer, Buffer]
const context = (...parts: Buffer[]): Buffer => sha('rootspan/context/v0\n', ...parts)
const evidenceOf = (salted: Buffer, of: Buffer, ...rest: Buffer[]): string => hex(sha('rootspan/evidence/v0\n', salted, of, ...rest))
const right = context(sized(receipt), sized(resource), sized(scope))
const claim = claims[2]
const [key, value] = bytes(claim, 'key', 'value') as [Buffer, Buffer]
const claimOf = (salted: Buffer, ...rest: (Buffer | string)[]): string => hex(sha('rootspan/claim/v0\n', salted, ...rest))
const set = claimSets.at(-1)
const members: Buffer[] = set.claims.map(bytesOf)
const setOf = (count: Buffer, of: readonly Buffer[]): string => hex(sha('rootspan/claims/v0\n', count, ...of))
const sorted = members.toSorted(Buffer.compare)
const little = (value: number): Buffer => Buffer.from(u32(value)).reverse()

const commitments: [string, string, Case, Record<string, string>][] = [
  ['a trace seed without the tenant', 'traceSeeds', seeds, { seed: hex(sha('rs/t\n', bytesOf(seeds.requestSeed), u16(0), bytesOf(seeds.traceId))) }],
  ['a trace seed without the length of the tenant', 'traceSeeds', seeds, { seed: hex(sha('rs/t\n', bytesOf(seeds.requestSeed), seeds.tenant, bytesOf(seeds.traceId))) }],
  ['the request seed itself', 'traceSeeds', seeds, { seed: seeds.requestSeed }],
  ['a salt with index and ordinal exchanged', 'salts', place, { salt: hex(salt(place, place.ordinal, place.index)) }],
  ['a salt with little-endian numbers', 'salts', place, { salt: hex(sha('rs/salt\n', bytesOf(place.seed), little(place.index), little(place.ordinal)).subarray(0, 16)) }],
  ['a salt that is an HMAC', 'salts', place, { salt: createHmac('sha256', bytesOf(place.seed)).update('rs/salt\n').update(u32(place.index)).update(u32(place.ordinal)).digest('hex').slice(0, 32) }],
  ['the other half of a salt', 'salts', place, { salt: hex(sha('rs/salt\n', bytesOf(place.seed), u32(place.index), u32(place.ordinal)).subarray(16)) }],
  ['evidence with the salt of the next span', 'evidence', opened, { evidence: evidenceOf(salt(opened, opened.index + 1), right, sized(span)) }],
  ['evidence with the salt of a claim', 'evidence', opened, { evidence: evidenceOf(salt(opened, opened.index, 1), right, sized(span)) }],
  ['evidence without a salt', 'evidence', opened, { evidence: evidenceOf(Buffer.alloc(0), right, sized(span)) }],
  ['evidence without the length of the span', 'evidence', opened, { evidence: evidenceOf(salt(opened), right, span) }],
  ['evidence of a context whose parts have no length', 'evidence', opened, { evidence: evidenceOf(salt(opened), context(receipt, resource, scope), sized(span)) }],
  ['evidence of a context with a byte of the scope in the resource', 'evidence', opened, { evidence: evidenceOf(salt(opened), context(sized(receipt), sized(Buffer.concat([resource, scope.subarray(0, 1)])), sized(scope.subarray(1))), sized(span)) }],
  ['evidence of another span', 'evidence', opened, { evidence: evidenceOf(salt(opened), right, sized(Buffer.concat([span, Buffer.from([0])]))) }],
  ['a context without its tag', 'evidence', opened, { context: hex(sha(sized(receipt), sized(resource), sized(scope))) }],
  ['a claim with a byte of the value in the key', 'claims', claim, { claim: claimOf(salt(claim), u16(key.length + 1), key, value.subarray(0, 1), value.subarray(1)) }],
  ['a claim without the length of the key', 'claims', claim, { claim: claimOf(salt(claim), key, value) }],
  ['a claim of the same number as a text', 'claims', claim, { claim: claimOf(salt(claim), u16(key.length), key, '\u00013') }],
  ['a claim with the salt of the next claim', 'claims', claim, { claim: claimOf(salt(claim, claim.index, claim.ordinal + 1), u16(key.length), key, value) }],
  ['a claim that is tagged as evidence', 'claims', claim, { claim: hex(sha('rootspan/evidence/v0\n', salt(claim), u16(key.length), key, value)) }],
  ['a set of claims as they came', 'claimSets', set, { digest: setOf(u32(members.length), members) }],
  ['a set of claims, descending', 'claimSets', set, { digest: setOf(u32(members.length), sorted.toReversed()) }],
  ['a set of claims without their number', 'claimSets', set, { digest: setOf(Buffer.alloc(0), sorted) }],
  ['a set without one of its claims', 'claimSets', set, { digest: setOf(u32(members.length - 1), sorted.slice(1)) }],
  ['a set with one of its claims twice', 'claimSets', set, { digest: setOf(u32(members.length + 1), [sorted[0]!, ...sorted]) }],
]

// ---- facts: what a span does not say

const allFacts: Case[] = read('facts')
const factsCase = (name: string): Case => structuredClone(allFacts.find((one) => one.name === name))
const coded = (text: string): string => hex(Buffer.from(text))
const wrongFacts: [string, string, string[], (of: Case) => void][] = [
  ['an attribute that is none of governance', 'every group', ['own.claims'], ({ own }) => own.claims.push([coded('http.route'), coded('\u0001/refunds')])],
  ['a claim left out', 'every group', ['facts[2].claims'], ({ facts }) => facts[2].claims.pop()],
  ['a claim on the fact of another group', 'every group', ['facts[1].claims', 'facts[2].claims'], ({ facts }) => facts[1].claims.push(facts[2].claims.pop())],
  ['claims not in their order', 'every group', ['facts[2].claims'], ({ facts }) => facts[2].claims.reverse()],
  ['a number as a text', 'every group', ['facts[2].claims'], ({ facts }) => (facts[2].claims[3][1] = coded('\u00013'))],
  ['facts in another order', 'every group', ['facts[0].kind', 'facts[0].claims', 'facts[1].kind', 'facts[1].claims'], ({ facts }) => facts.splice(0, 2, facts[1], facts[0])],
  ['a fact left out', 'every group', ['facts.length'], ({ facts }) => facts.pop()],
  ['an action that is a fact of its own', 'an action', ['own.kind', 'own.claims', 'facts.length'], (of) => {
    of.facts.push({ kind: 'action', claims: of.own.claims })
    of.own = { kind: 'span', claims: [] }
  }],
  ['a request that is a span', 'a request', ['own.kind'], ({ own }) => (own.kind = 'span')],
  ['a decision of a reference', 'a decision without an outcome is a reference', ['own.claims', 'facts.length'], (of) => {
    of.facts.push({ kind: 'decision', claims: of.own.claims })
    of.own.claims = []
  }],
  ['a fact for each group of a kind', 'groups that share a kind', ['facts.length', 'facts[0].claims'], ({ facts }) => facts.push({ kind: 'authorization', claims: [facts[0].claims.pop()] })],
  ['unknown groups left out', 'unknown groups are the span’s own', ['own.claims'], ({ own }) => own.claims.shift()],
  ['a mark that is not looked at', 'marked', ['own.kind'], ({ own }) => (own.kind = 'request')],
  ['a mark as what a span cannot be', 'marked as what a span cannot be', ['own.kind'], ({ own }) => (own.kind = 'decision')],
  ['an event without its name', 'events', ['facts[1].claims'], ({ facts }) => facts[1].claims.pop()],
  ['an event that is no fact', 'events', ['facts.length'], ({ facts }) => facts.push({ kind: 'span', claims: [[coded('governance.emitter.seq'), '030000000000000001']] })],
  ['an event before the attributes', 'events', ['facts[0].kind', 'facts[0].claims', 'facts[1].kind', 'facts[1].claims'], ({ facts }) => facts.splice(0, 2, facts[1], facts[0])],
  ['the name of an event for its mark', 'events', ['facts[3].kind'], ({ facts }) => (facts[3].kind = 'decision')],
  ['a boolean as a number', 'every type of value', ['own.claims'], ({ own }) => (own.claims[0][1] = '030000000000000001')],
  ['a double as a whole number', 'every type of value', ['own.claims'], ({ own }) => (own.claims[2][1] = '030000000000000001')],
  ['an empty text as no value', 'every type of value', ['own.claims'], ({ own }) => (own.claims[5][1] = '00')],
  ['a log record that is a fact beside its own', 'the start of an execution, as a log record', ['facts.length'], ({ own, facts }) => facts.push(own)],
  ['a decision that is its log record’s own', 'a decision, as a log record', ['own.kind', 'own.claims', 'facts.length'], (of) => (of.own = of.facts.pop())],
]

// ---- segments: entries and payloads that do not belong together

interface Field {
  readonly number: number
  /** With its tag. */
  readonly whole: string
  readonly value: string
}

/** The fields of a message whose tags and lengths are of one or two bytes. */
function fieldsOf(message: string): Field[] {
  const data = bytesOf(message)
  const fields: Field[] = []
  let at = 0
  const next = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = data[at++]!
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
  }
  while (at < data.length) {
    const start = at
    const tag = next()
    let from = at
    if (tag % 8 === 0) next()
    else if (tag % 8 === 1) at += 8
    else {
      const length = next()
      from = at
      at += length
    }
    fields.push({ number: tag >>> 3, whole: hex(data.subarray(start, at)), value: hex(data.subarray(from, at)) })
  }
  return fields
}

const join = (fields: readonly Field[]): string => fields.map(({ whole }) => whole).join('')
const get = (message: string, wanted: number): string => fieldsOf(message).find((one) => one.number === wanted)!.value
/** With the first field of this number as this; without it where that is empty. */
function replaced(message: string, wanted: number, as: string): string {
  const fields = fieldsOf(message)
  const at = fields.findIndex((one) => one.number === wanted)
  const place = at === -1 ? fields.findIndex((one) => one.number > wanted) : at
  return join(fields.slice(0, place)) + as + join(fields.slice(at === -1 ? place : place + 1))
}
const leafOf = (entry: string): string => hex(sha(Uint8Array.of(0), bytesOf(entry)))
const without = <T>(list: readonly T[], at: number): T[] => list.filter((_, other) => other !== at)
const swapped = <T>(list: readonly T[], at: number): T[] => [...list.slice(0, at), list[at + 1]!, list[at]!, ...list.slice(at + 2)]
/** A change of the row of a span, the fields of the payload by their numbers. */
const row = (payload: string, at: number, change: (span: string) => string): string => {
  let seen = 0
  return fieldsOf(payload)
    .map(({ number: of, whole, value }) => (of === 9 && seen++ === at ? field(9, change(value)) : whole))
    .join('')
}
const rows = (payload: string, change: (list: readonly Field[]) => readonly Field[]): string => {
  const fields = fieldsOf(payload)
  return join([...fields.filter((one) => one.number < 9), ...change(fields.filter((one) => one.number === 9)), ...fields.filter((one) => one.number > 9)])
}

/** A change of every receipt. */
const receipts = (payload: string, change: (receipt: string) => string): string =>
  fieldsOf(payload)
    .map(({ number: of, whole, value }) => (of === 6 ? field(6, replaced(value, 1, field(1, change(get(value, 1))))) : whole))
    .join('')

type Segment = { entries: string[]; payload: string }
const segments: [string, string, number, string, string, (of: Segment, before: readonly Segment[]) => void][] = [
  ['two records exchanged', 'order', 0, 'order', 'leaf 0', (of) => (of.entries = swapped(of.entries, 0))],
  ['a child of another record', 'order', 0, 'link', 'leaf 2', (of) => (of.entries[2] = replaced(of.entries[2]!, 8, field(8, leafOf(of.entries[0]!))))],
  ['a child of another span', 'order', 0, 'link', 'leaf 2', (of) => (of.entries[2] = replaced(of.entries[2]!, 6, field(6, get(of.entries[0]!, 5))))],
  ['a root that has a parent', 'order', 0, 'link', 'leaf 2', (of) => (of.entries[2] = replaced(replaced(replaced(of.entries[2]!, 6, ''), 8, ''), 7, number(7, 1)))],
  ['awaiting a parent that is there', 'order', 0, 'link', 'leaf 2', (of) => (of.entries[2] = replaced(replaced(of.entries[2]!, 8, ''), 7, number(7, 3)))],
  ['remote, and the span does not say so', 'order', 0, 'link', 'leaf 5', (of) => (of.entries[5] = replaced(of.entries[5]!, 7, number(7, 4)))],
  ['awaiting, and the span says that its parent is remote', 'remote and awaiting, drained', 0, 'link', 'leaf 1', (of) => (of.entries[1] = replaced(of.entries[1]!, 7, number(7, 3)))],
  ['the evidence of another span', 'order', 0, 'evidence', 'leaf 3', (of) => (of.entries[3] = replaced(of.entries[3]!, 10, field(10, get(of.entries[2]!, 10))))],
  ['a claim of nothing', 'order', 0, 'claims', 'leaf 0', (of) => (of.entries[0] += field(11, 'cc'.repeat(32)))],
  ['the claims of another record', 'facts', 0, 'claims', 'leaf 1', (of) => (of.entries[1] = replaced(of.entries[1]!, 11, field(11, get(of.entries[0]!, 11))))],
  ['a fact of another kind', 'facts', 0, 'record', 'leaf 1', (of) => (of.entries[1] = replaced(of.entries[1]!, 2, number(2, 3)))],
  ['a fact left out', 'facts', 0, 'record', 'leaf 0', (of) => (of.entries = without(of.entries, 0))],
  ['an action that is an ordinary span', 'facts', 0, 'record', 'leaf 5', (of) => (of.entries[5] = replaced(of.entries[5]!, 2, number(2, 8)))],
  ['a cause left out', 'facts', 0, 'record', 'leaf 2', (of) => (of.entries[2] = replaced(of.entries[2]!, 9, ''))],
  ['causes in another order', 'facts', 0, 'record', 'leaf 2', (of) => (of.entries[2] = join(swapped(fieldsOf(of.entries[2]!), fieldsOf(of.entries[2]!).findIndex((one) => one.number === 9))))],
  ['a join left out', 'facts', 0, 'record', 'leaf 6', (of) => (of.entries = without(of.entries, 6))],
  ['a join with another decision', 'joins', 0, 'record', 'leaf 10', (of) => (of.entries[10] = of.entries[10]!.replace(leafOf(of.entries[0]!), leafOf(of.entries[4]!)))],
  ['a finding left out', 'joins', 0, 'record', 'leaf 23', (of) => (of.entries = without(of.entries, 23))],
  ['a gap that nobody says', 'order', 0, 'record', 'leaf 6', (of) => (of.entries = without(of.entries, 6))],
  ['children that are not adopted', 'late and adopted', 1, 'record', 'leaf 2', (of) => (of.entries = without(of.entries, 2))],
  ['late, and not said', 'late and adopted', 1, 'record', 'leaf 3', (of) => (of.entries = without(of.entries, 3))],
  ['no seal', 'facts', 0, 'seal', '', (of) => (of.entries = of.entries.slice(0, -1))],
  ['a record after the seal', 'facts', 0, 'seal', 'leaf 8', (of) => of.entries.push(of.entries[0]!)],
  ['a seal that closes one leaf less', 'facts', 0, 'seal', 'leaf 7', (of) => (of.entries[7] = replaced(of.entries[7]!, 14, number(14, 6)))],
  ['a seal of another segment', 'late and adopted', 1, 'seal', 'leaf 4', (of) => (of.entries[4] = replaced(of.entries[4]!, 13, number(13, 2)))],
  ['a seal after another one', 'late and adopted', 2, 'seal', 'leaf 2', (of, before) => (of.entries[2] = of.entries[2]!.replace(leafOf(before[1]!.entries.at(-1)!), leafOf(before[0]!.entries.at(-1)!)))],
  ['a seal that says something else', 'facts', 0, 'seal', 'leaf 7', (of) => (of.entries[7] = replaced(of.entries[7]!, 11, field(11, 'cc'.repeat(32))))],
  ['closed for another reason', 'order', 0, 'seal', 'leaf 7', (of) => (of.payload = replaced(of.payload, 4, number(4, 1)))],
  ['judged at another time', 'order', 0, 'seal', 'leaf 7', (of) => (of.payload = of.payload.replace(fieldsOf(of.payload).find((one) => one.number === 5)!.whole, `29${'01'.repeat(8)}`))],
  ['the payload of another segment', 'late and adopted', 1, 'seal', '', (of) => (of.payload = replaced(of.payload, 3, number(3, 2)))],
  ['spans not in record order', 'order', 0, 'order', 'span 0', (of) => (of.payload = rows(of.payload, (list) => swapped(list, 0)))],
  ['a span twice', 'order', 0, 'record', '', (of) => (of.payload = rows(of.payload, (list) => [...list, list[0]!]))],
  ['a span that an earlier segment has', 'late and adopted', 1, 'record', '', (of, before) => (of.payload = rows(of.payload, (list) => [...list, fieldsOf(before[0]!.payload).find((one) => one.number === 9)!]))],
  ['a span left out', 'order', 0, 'order', 'leaf 0', (of) => (of.payload = rows(of.payload, (list) => list.slice(1)))],
  ['another place in its request', 'order', 0, 'evidence', 'leaf 0', (of) => (of.payload = row(of.payload, 0, (span) => replaced(span, 2, number(2, 9))))],
  ['another byte of a span', 'order', 0, 'evidence', 'leaf 0', (of) => (of.payload = row(of.payload, 0, (span) => span.replace(coded('span '), coded('spam '))))],
  ['another seed', 'order', 0, 'evidence', 'leaf 0', (of) => (of.payload = of.payload.replace(/1220.{64}/, `1220${'ab'.repeat(32)}`))],
  ['a receipt of another tenant', 'a tenant', 0, 'record', 'receipt', (of) => (of.payload = receipts(of.payload, (one) => replaced(one, 3, field(3, coded('grüße')))))],
  ['another tenant', 'a tenant', 0, 'record', '', (of) => (of.payload = replaced(of.payload, 2, field(2, coded('grüße'))))],
  ['a span of another trace', 'order', 0, 'record', 'span 0', (of) => (of.payload = row(of.payload, 0, (span) => span.replace(get(of.payload, 1), 'ab'.repeat(16))))],
  ['a log record that came with spans', 'an execution from its start to its end', 0, 'record', 'span 0', (of) => (of.payload = receipts(of.payload, (one) => replaced(one, 6, '')))],
  ['not judged', 'facts', 0, 'verdict', '', (of) => (of.payload = join(fieldsOf(of.payload).filter((one) => one.number < 10)))],
  ['a judgement by other rules', 'facts', 0, 'seal', 'leaf 7', (of) => (of.payload = replaced(of.payload, 12, field(12, 'ab'.repeat(32))))],
  ['a result that is another one', 'joins', 0, 'verdict', '', (of) => (of.payload = replaced(of.payload, 11, field(11, get(of.payload, 11).replace('1001', '1003'))))],
]

const valid: Case[] = read('segments').cases
write('refused', {
  commitments: commitments.map(([name, list, from, wrong]) => ({ name, list, ...from, ...wrong })),
  facts: wrongFacts.map(([name, from, differs, change]) => {
    const of = factsCase(from)
    change(of)
    return { ...of, name, differs }
  }),
  segments: segments.map(([name, of, segment, code, where, change]) => {
    const before: Segment[] = structuredClone(valid.find((one) => one.name === of).segments)
    const { entries, payload } = before[segment]!
    const changed = { entries: [...entries], payload }
    change(changed, before)
    const differs = { ...(changed.entries.join() !== entries.join() && { entries: changed.entries }), ...(changed.payload !== payload && { payload: changed.payload }) }
    if (Object.keys(differs).length !== 1) throw new Error(`bad change: ${name}`)
    return { name, code, where, of, segment, ...differs }
  }),
})
