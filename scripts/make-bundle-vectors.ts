/**
 * Makes test/vectors/bundles: evidence bundles, good and bad, with what must come of each.
 *
 * Run it after a change of the formats: `node --conditions=source scripts/make-bundle-vectors.ts`. Keys, seeds and
 * times are fixed, so that it writes the same bytes every time; a test compares.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseUtf8, utf8 } from '@rootspan/lineage/bytes'
import { EMPTY_CONTEXT, type Revocation } from '@rootspan/lineage/continuity/context'
import { VerificationError } from '@rootspan/lineage/errors'
import { type Bundle, formatBundle, parseBundle } from '@rootspan/lineage/evidence/bundle'
import { disclose, encodeOpened, openPayload, parseAnyPayload } from '@rootspan/lineage/record/opened'
import { encodePayload, parsePayload } from '@rootspan/lineage/record/payload'
import { formatCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import { signNote } from '@rootspan/lineage/tlog/note'
import { type Policy, parsePolicy } from '@rootspan/lineage/tlog/policy'
import { proveRange } from '@rootspan/lineage/tlog/proof'
import { verify } from '@rootspan/lineage/verify'
import { verifiedJson } from '../packages/verifier/src/execution.ts'
import { EPOCH, type SpanSpec, TestLog, testKey, traceIdOf } from '../test/support/executions.ts'
import { SHAPES } from '../test/support/shapes.ts'
import { root } from './workspace.ts'

export const DIRECTORY = join(root, 'test/vectors/bundles')

/** What must come of a bundle. */
export type Expected =
  | { readonly result: 'verified'; readonly execution: object }
  | { readonly result: 'bad' | 'not checked'; readonly code: string; readonly where: string }

/** What verification gives under a policy, as the vectors write it. */
export function outcomeOf(evidence: Uint8Array, policy: Policy): Expected {
  try {
    return { result: 'verified', execution: verifiedJson(verify(evidence, policy)) }
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error
    const { code, where } = error
    return { result: code === 'unsupported' ? 'not checked' : 'bad', code, where }
  }
}

/** Each file by its name in the directory. */
export async function makeBundleVectors(): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>()
  const log = new TestLog()
  const traces = new Map<string, number>()
  for (const [shape, make] of SHAPES) {
    traces.set(shape, traces.size + 1)
    make(log, traces.size)
  }
  const policies: Record<string, string> = {
    'log.policy': log.policyText,
    'other-key.policy': new TestLog([testKey(log.origin, 8)]).policyText,
    'other-log.policy': new TestLog([testKey('example.com/other/v0')]).policyText,
  }
  for (const [name, text] of Object.entries(policies)) files.set(name, utf8(text))

  const cases: object[] = []
  const add = (name: string, evidence: Uint8Array, policy = 'log.policy'): void => {
    const file = `${name.replaceAll(/[^a-z0-9]+/g, '-')}.rootspan`
    files.set(file, evidence)
    cases.push({ name, file, policy, ...outcomeOf(evidence, parsePolicy(policies[policy]!)) })
  }
  for (const [shape, trace] of traces)
    add(shape, await log.bundle(trace, shape === 'a tenant' ? { tenant: 'acme' } : {}))
  await addBad(log, traces, add)
  await addErased(add)
  await addContext(add)
  files.set('bundles.json', utf8(`${JSON.stringify(cases, null, 2)}\n`))
  return files
}

async function addBad(
  log: TestLog,
  traces: ReadonlyMap<string, number>,
  add: (name: string, evidence: Uint8Array, policy?: string) => void,
): Promise<void> {
  const bundleOf = async (shape: string): Promise<Bundle> => parseBundle(await log.bundle(traces.get(shape)!))
  const two = await bundleOf('two services')
  const cut = await bundleOf('cut in three segments')
  const text = parseUtf8(formatBundle(two))
  const first = two.segments[0]!
  const read = (level: number, index: number, width: number): Uint8Array => log.tile(level, index, width)
  const flip = (bytes: Uint8Array, at: number): Uint8Array =>
    bytes.map((byte, i) => (i === at ? byte ^ 1 : byte))
  const change = (fields: Partial<typeof first>): Uint8Array =>
    formatBundle({ ...two, segments: [{ ...first, ...fields }] })

  add('under another key', formatBundle(two), 'other-key.policy')
  add('under another log', formatBundle(two), 'other-log.policy')
  add('cut off', utf8(text.slice(0, -100)))
  add('a space too many', utf8(text.replace('":', '": ')))
  add('a member too many', utf8(text.replace('{"first"', '{"note":"","first"')))
  add('a newer format', utf8(text.replace('evidence/v0', 'evidence/v1')))
  add(
    'a changed signature',
    formatBundle({
      ...two,
      checkpoint: two.checkpoint.replace(/.(?==*\n$)/, (c) => (c === 'A' ? 'E' : 'A')),
    }),
  )
  add(
    'a changed root',
    formatBundle({ ...two, checkpoint: two.checkpoint.replace(/\n[0-9]+\n/, `\n${log.size - 1}\n`) }),
  )
  const forged = formatCheckpoint({
    origin: log.origin,
    size: log.size,
    root: new Uint8Array(32),
    extensions: [],
  })
  add('another tree', formatBundle({ ...two, checkpoint: parseUtf8(signNote(forged, [testKey().signer])) }))
  add('a smaller checkpoint', formatBundle({ ...two, checkpoint: parseUtf8(checkpointOf(log, 1)) }))
  add('a changed entry', change({ entries: [flip(first.entries[0]!, 60), ...first.entries.slice(1)] }))
  add('a changed proof', change({ proof: [flip(first.proof[0]!, 0), ...first.proof.slice(1)] }))
  add('a changed payload', change({ payload: flip(first.payload, first.payload.length - 1) }))
  add(
    'two entries swapped',
    change({ entries: [first.entries[1]!, first.entries[0]!, ...first.entries.slice(2)] }),
  )
  add('an entry left out', change({ entries: first.entries.slice(1) }))
  const end = first.first + first.entries.length
  add(
    'without its seal',
    change({
      entries: first.entries.slice(0, -1),
      proof: await proveRange(first.first, end - 1, log.size, read),
    }),
  )
  add('no segment', formatBundle({ ...two, segments: [] }))
  add('the middle segment left out', formatBundle({ ...cut, segments: [cut.segments[0]!, cut.segments[2]!] }))
  add('the first segment left out', formatBundle({ ...cut, segments: cut.segments.slice(1) }))
  add(
    'two segments swapped',
    formatBundle({ ...cut, segments: [cut.segments[0]!, cut.segments[2]!, cut.segments[1]!] }),
  )
  add(
    'the payload of another execution',
    change({ payload: (await bundleOf('one span')).segments[0]!.payload }),
  )
  const { spans, ...head } = parsePayload(first.payload)
  add('spans in another order', change({ payload: encodePayload(head, spans.toReversed(), head.judgement) }))
  add(
    'spans with other salts',
    change({
      payload: encodePayload(
        head,
        spans.map((span) => ({ ...span, index: span.index + 1 })),
        head.judgement,
      ),
    }),
  )
}

/** Of a log of their own, so that the others stay as they are. */
async function addErased(add: (name: string, evidence: Uint8Array) => void): Promise<void> {
  const log = new TestLog()
  const spans: SpanSpec[] = [
    { id: 1, attributes: { 'governance.execution.id': 'e1' } },
    {
      id: 2,
      parent: 1,
      attributes: {
        'governance.authorization.subject': 'alice',
        'governance.decision.id': 'd1',
        'governance.decision.outcome': 'allow',
      },
    },
  ]
  for (const trace of [1, 2, 3]) log.settle(trace, [spans])
  const full = parseBundle(await log.bundle(3))
  log.erase(1, 'all')
  log.erase(2, ['governance.authorization.subject'])
  const whole = parseBundle(await log.bundle(1))
  const part = parseBundle(await log.bundle(2))
  const change = (bundle: Bundle, payload: Uint8Array): Uint8Array =>
    formatBundle({ ...bundle, segments: [{ ...bundle.segments[0]!, payload }] })
  add('erased whole', formatBundle(whole))
  add('missing, and no record of an erasure', formatBundle({ ...whole, erasures: [] }))
  add('missing, and a record of the erasure of another', formatBundle({ ...whole, erasures: part.erasures }))
  const [erasure] = whole.erasures
  const run = erasure!.payload.map((byte, at) => (at === erasure!.payload.length - 1 ? byte ^ 1 : byte))
  add(
    'a changed claim of an erased record',
    formatBundle({ ...whole, erasures: [{ ...erasure!, payload: run }] }),
  )
  add('an attribute erased', formatBundle(part))
  const left = parseAnyPayload(part.segments[0]!.payload)
  if (left.form !== 'opened') throw new Error('bad vector: nothing was erased')
  add('more missing than was erased', change(part, encodeOpened({ ...left, spans: [] })))
  const shown = parseAnyPayload(full.segments[0]!.payload)
  if (shown.form !== 'whole') throw new Error('bad vector: something was erased')
  const opened = openPayload(shown, undefined, full.segments[0]!.entries)!
  add('one claim disclosed', change(full, encodeOpened(disclose(opened, ['governance.decision.outcome']))))
}

/** A token that is revoked in one execution and used in another: as it is, and as collectors might lie about it. */
async function addContext(add: (name: string, evidence: Uint8Array) => void): Promise<void> {
  const token = { 'governance.authorization.id': 't1', 'governance.authorization.issuer': 'https://issuer' }
  const revoked = { ...token, 'governance.authorization.status': 'revoked' }
  const logOf = (fields: Partial<Revocation> = {}): TestLog => {
    const log = new TestLog()
    log.settle(1, [[{ id: 1, events: [{ name: 'governance.authorization', at: 1, attributes: revoked }] }]])
    const [segment] = log.segments(1)
    const revocation: Revocation = {
      by: 'id',
      issuer: 'https://issuer',
      value: 't1',
      at: EPOCH + 1n,
      leaf: segment!.leaves.slice(0, 32),
      traceId: traceIdOf(1),
      ...fields,
    }
    const action = { 'governance.action.name': 'refund' }
    const event = { name: 'governance.authorization', attributes: token }
    const start = 60_000_000_000
    log.settle(2, [[{ id: 2, start, end: start + 1, attributes: action, events: [event] }]], {
      sealing: { gather: () => ({ ...EMPTY_CONTEXT, revocations: [revocation] }) },
    })
    return log
  }
  const log = logOf()
  const bundle = parseBundle(await log.bundle(2))
  add('a revocation in another execution', formatBundle(bundle))
  add('a revocation whose record is left out', formatBundle({ ...bundle, context: [] }))
  const [part] = bundle.context
  add(
    'a revocation whose record shows nothing',
    formatBundle({ ...bundle, context: [{ ...part!, payload: new Uint8Array(0) }] }),
  )
  const more = {
    first: 1,
    entries: [log.entries[1]!],
    proof: await proveRange(1, 2, log.size, (level, index, width) => log.tile(level, index, width)),
    payload: new Uint8Array(0),
  }
  add('a record that no statement names', formatBundle({ ...bundle, context: [part!, more] }))
  add('a revocation of another time', await logOf({ at: EPOCH }).bundle(2))
  add('a revocation by another issuer', await logOf({ issuer: '' }).bundle(2))
  add('a revocation of another token', await logOf({ value: 't2' }).bundle(2))
  add('a revocation in no such execution', await logOf({ traceId: traceIdOf(3) }).bundle(2))
  log.erase(1, 'all')
  add('a revocation that was erased', await log.bundle(2))
}

/** The checkpoint that the log signed when it had this many leaves. */
function checkpointOf(log: TestLog, size: number): Uint8Array {
  const small = new TestLog(log.keys)
  small.append(log.entries.slice(0, size))
  return small.checkpoint()
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await mkdir(DIRECTORY, { recursive: true })
  for (const [name, bytes] of await makeBundleVectors()) await writeFile(join(DIRECTORY, name), bytes)
}
