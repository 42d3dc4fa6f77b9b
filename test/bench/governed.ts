/**
 * What instrumented services say beside ordinary attributes, for load: where a trace begins, the token that came with it,
 * that it was verified, and what was decided; where a request comes to a service; where one does something. Half of all
 * spans, each with its number in its process.
 */
import { WireWriter } from '@rootspan/lineage/wire'

/** Numbers are written with all their bytes, so that others fit over them. */
const SEQ_BYTES = 5
const EMITTER = 'emitter-id-of-thirty-two-letters'
const SEQ_KEY = 'governance.emitter.seq'
const TOKEN = {
  'governance.authorization.fingerprint': `hmac-sha256:${'9f86d081884c7d65'.repeat(4)}`,
  'governance.authorization.type': 'jwt',
  'governance.authorization.issuer': 'https://issuer.example',
  'governance.authorization.subject': `hmac-sha256:${'60303ae22b998861'.repeat(4)}`,
  'governance.authorization.issued_at': 1_700_000_000,
  'governance.authorization.expires_at': 4_000_000_000,
  'governance.authorization.verification': 'verified',
  'governance.authorization.method': 'jsonwebtoken.verify',
}
const VERIFICATION = {
  'governance.verification.type': 'credential',
  'governance.verification.result': 'pass',
  'governance.verification.method': 'jsonwebtoken.verify',
}
const DECISION = {
  'governance.decision.outcome': 'allow',
  'governance.decision.engine.name': 'casbin',
  'governance.decision.engine.version': '5.51.1',
  'governance.policy.id': 'casbin',
  'governance.policy.digest': `sha256:${'2c26b46b68ffc68f'.repeat(4)}`,
}
const REQUEST = {
  'governance.record.kind': 'request',
  'governance.execution.id': 'orders',
  'governance.execution.kind': 'request',
}
const ACTION = {
  'governance.record.kind': 'action',
  'governance.action.name': 'POST payments',
  'governance.action.outcome': 'success',
}

/** Attributes of the resource of an instrumented service. */
export function writeInstrumented(resource: WireWriter): void {
  const hooks = new WireWriter()
  for (const hook of ['jsonwebtoken@9.0.3 effective', 'casbin@5.51.1 effective'])
    hooks.bytes(1, new WireWriter().string(1, hook).finish())
  const list = new WireWriter().bytes(5, hooks.finish()).finish()
  resource
    .bytes(1, attribute('governance.instrumentation.version', '0.1.0'))
    .bytes(1, new WireWriter().string(1, 'governance.instrumentation.hooks').bytes(2, list).finish())
}

/** Adds what a governed span carries; the first one of a trace has the facts. The emitter's id is to be put in. */
export function writeGoverned(span: WireWriter, kind: 'request' | 'action', isFirst: boolean): void {
  const own = kind === 'request' ? REQUEST : ACTION
  for (const [key, value] of Object.entries(own)) span.bytes(9, attribute(key, value))
  span.bytes(9, attribute('governance.emitter.id', EMITTER))
  const seq = Uint8Array.of(0x18, ...varint(0))
  span.bytes(9, new WireWriter().string(1, SEQ_KEY).bytes(2, seq).finish())
  if (!isFirst) return
  span.bytes(11, event('governance.authorization', TOKEN))
  span.bytes(11, event('governance.verification', VERIFICATION))
  span.bytes(11, event('governance.decision', DECISION))
}

/** Puts the emitter's id into a span that lies there in a body. Returns where its number is; 0 where it is not governed. */
export function putEmitter(body: Buffer, start: number, end: number, id: string): number {
  const span = body.subarray(start, end)
  const key = span.indexOf(SEQ_KEY)
  if (key === -1) return 0
  span.write(id.slice(0, EMITTER.length).padEnd(EMITTER.length, '-'), span.indexOf(EMITTER), 'latin1')
  return start + key + SEQ_KEY.length + 3 // tag and length of the value, tag of the int
}

export function putSeq(body: Buffer, at: number, seq: number): void {
  body.set(varint(seq), at)
}

function varint(value: number): number[] {
  return Array.from(
    { length: SEQ_BYTES },
    (_, at) => (Math.floor(value / 128 ** at) & 0x7f) | (at < SEQ_BYTES - 1 ? 0x80 : 0),
  )
}

function event(name: string, attributes: Readonly<Record<string, string | number>>): Uint8Array {
  const out = new WireWriter().string(2, name)
  for (const [key, value] of Object.entries(attributes)) out.bytes(3, attribute(key, value))
  return out.finish()
}

/** A `KeyValue`. */
export function attribute(key: string, value: string | number): Uint8Array {
  const any = new WireWriter()
  if (typeof value === 'string') any.string(1, value)
  else any.varint(3, value)
  return new WireWriter().string(1, key).bytes(2, any.finish()).finish()
}
