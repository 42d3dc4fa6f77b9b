/**
 * Specs of the continuity vectors: executions in a few lines, and the findings that they must give, written by hand.
 * `make.ts` turns them into OTLP/JSON.
 *
 * A span is what `@rootspan/instrumentation` would make of it, as far as a rule looks at it. Times are seconds after the
 * vector's own beginning: whoever sends it moves that to now, and the artifacts' times with it.
 */
import { createHash } from 'node:crypto'

/** When every vector begins: seconds since 1970. 2026-01-02T03:04:05Z. */
export const BEGIN = 1_767_323_045

type Value = string | number | boolean | readonly string[]
export type Attributes = Readonly<Record<string, Value>>

/** A time of an artifact or policy in the vector's own seconds: moved with the vector. */
export const when = (seconds: number): number => BEGIN + seconds

export interface VectorEvent {
  /** `governance.decision`. */
  readonly name: string
  readonly attributes: Attributes
  /** Seconds; the start of the span if absent. */
  readonly at?: number
}

export interface VectorSpan {
  readonly id: number
  readonly parent?: number
  /** The second execution and so on of a vector that has several. */
  readonly trace?: number
  readonly name?: string
  /** Default `api`. */
  readonly service?: string
  readonly kind?: 'internal' | 'server' | 'client' | 'producer' | 'consumer'
  /** Seconds: when it begins, by default its id in hundredths; and how long it takes, by default 0.005. */
  readonly at?: number
  readonly takes?: number
  readonly attributes?: Attributes
  readonly events?: readonly VectorEvent[]
  /** Spans of the same trace; and whether they are in another process, where the links say it. */
  readonly links?: readonly number[]
  readonly linksRemote?: boolean
  readonly failed?: boolean
  /** OTLP says that the parent is in another process, or that it is not; absent: it says nothing. */
  readonly remote?: boolean
  readonly dropped?: number
  readonly traceState?: string
  /** Its number in its process: emitter id, number, and `prev` where that is not the link of the number before. */
  readonly numbered?: readonly [emitter: string, seq: number, prev?: string]
  /** It is no span: OPA took a decision in the span with this id, and pushes it in its own log, through its own door. */
  readonly pushed?: PushedDecision
  /** Who sent it, authenticated; only in executions that are judged in process. */
  readonly peer?: string
}

export interface PushedDecision {
  readonly id: string
  readonly result: boolean
}

/** What the collector makes of a decision of OPA's log (docs/operate/opa.md). */
export function pushedDecision({ id, result }: PushedDecision): Attributes {
  return governance({
    'decision.id': id,
    'decision.outcome': result ? 'allow' : 'deny',
    'decision.engine.name': 'opa',
    'policy.id': PUSHED_PATH,
    'corroboration.source': 'opa',
  })
}

export const PUSHED_PATH = 'shop/allow'

export interface VectorService {
  /** Default: the instrumentation with effective hooks for jsonwebtoken and casbin. */
  readonly resource?: Attributes
}

export interface VectorFinding {
  readonly rule: string
  readonly severity: 'critical' | 'high' | 'medium' | 'low'
  /** The offending span first; those of other traces as `trace/span`. */
  readonly spans: readonly (number | string)[]
  readonly detail: string
  /** Of a vector with several executions: which one. */
  readonly trace?: number
}

export interface Vector {
  /** `GC-N01`: its directory. */
  readonly rule: string
  /** `violating`, `clean-2`: its file. */
  readonly name: string
  /** `settle`: all that was sent before is committed before what follows is sent. */
  readonly requests: readonly (readonly VectorSpan[] | 'settle')[]
  readonly services?: Readonly<Record<string, VectorService>>
  /** All that any rule finds, once everything is committed. */
  readonly findings: readonly VectorFinding[]
  /** Results that must be unknown, each with what is missing. Others may be unknown too. */
  readonly unknown?: readonly { readonly rule: string; readonly missing: string; readonly trace?: number }[]
}

/** The resource of an instrumented service, with effective hooks. */
export const INSTRUMENTED: Attributes = {
  'governance.instrumentation.version': '0.1.0',
  'governance.instrumentation.hooks': ['jsonwebtoken@9.0.3 effective', 'casbin@5.51.1 effective'],
}

/** `prev` of the first span of a process. */
const FIRST_LINK = '0'.repeat(64)

/**
 * The attributes of an emitter on spans that have a number, chained as the instrumentation does, with a link on each. `traceIdOf` gives the
 * hexadecimal id of a span's trace.
 */
export function numberSpans(spans: readonly VectorSpan[], traceIdOf: (trace: number) => string): VectorSpan[] {
  const links = new Map<string, string>()
  const marks = new Map<VectorSpan, Attributes>()
  const seqOf = ({ numbered }: VectorSpan): number => numbered?.[1] ?? -1
  for (const span of [...spans].sort((a, b) => seqOf(a) - seqOf(b))) {
    if (span.numbered === undefined) continue
    const [emitter, seq, said] = span.numbered
    const elsewhere = seq === 0 ? FIRST_LINK : sha256(`before ${emitter} ${seq}`)
    const prev = said ?? links.get(`${emitter} ${seq - 1}`) ?? elsewhere
    const ids = `${traceIdOf(span.trace ?? 0)}${spanIdOf(span.id)}`
    const link = sha256(`rootspan/emitter/v2\n${emitter}\n${seq}\n${prev}\n${ids}\n`)
    if (!links.has(`${emitter} ${seq}`)) links.set(`${emitter} ${seq}`, link)
    marks.set(span, governance({ 'emitter.id': emitter, 'emitter.seq': seq, 'emitter.prev': prev }))
  }
  return spans.map((span) => {
    const mark = marks.get(span)
    return mark === undefined ? span : { ...span, attributes: { ...span.attributes, ...mark } }
  })
}

export function spanIdOf(id: number): string {
  return id.toString(16).padStart(16, '0')
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** The name of an artifact or a person, as a keyed fingerprint looks. */
export function fingerprint(name: string): string {
  return `hmac-sha256:${Buffer.from(name).toString('hex').padEnd(64, '0').slice(0, 64)}`
}

/** Attributes of the namespace: `{ 'decision.id': 'd1' }`. */
export function governance(attributes: Attributes): Attributes {
  return Object.fromEntries(Object.entries(attributes).map(([key, value]) => [`governance.${key}`, value]))
}

/** Attributes of the span that an execution begins with. */
export const REQUEST: Attributes = governance({
  'record.kind': 'request',
  'execution.id': 'an execution',
  'execution.kind': 'request',
})

/** Attributes of an action that succeeded; `more` without the namespace. */
export function action(name: string, more: Attributes = {}): Attributes {
  return governance({
    'record.kind': 'action',
    'action.name': name,
    'action.type': 'write',
    'action.outcome': 'success',
    ...more,
  })
}

/** A JWT of a subject that was verified here; holds for an hour. */
export function token(name: string, more: Attributes = {}, at?: number): VectorEvent {
  return fact(
    'authorization',
    {
      'authorization.fingerprint': fingerprint(name),
      'authorization.type': 'jwt',
      'authorization.issuer': 'https://issuer.example',
      'authorization.subject': fingerprint('alice'),
      'authorization.issued_at': when(-60),
      'authorization.expires_at': when(3600),
      'authorization.verification': 'verified',
      'authorization.method': 'jsonwebtoken.verify',
      ...more,
    },
    at,
  )
}

/** The same artifact as it is repeated on later spans. */
export function inherited(name: string, more: Attributes = {}, at?: number): VectorEvent {
  return fact(
    'authorization',
    {
      'authorization.fingerprint': fingerprint(name),
      'authorization.type': 'jwt',
      'authorization.issuer': 'https://issuer.example',
      'authorization.subject': fingerprint('alice'),
      'authorization.expires_at': when(3600),
      'authorization.verification': 'verified',
      'authorization.inherited': true,
      ...more,
    },
    at,
  )
}

/** A decision of casbin, enforced; allowed unless `more` says otherwise. */
export function decision(id: string, more: Attributes = {}, at?: number): VectorEvent {
  return fact(
    'decision',
    {
      'decision.id': id,
      'decision.outcome': 'allow',
      'decision.enforcement': 'enforced',
      'decision.engine.name': 'casbin',
      'decision.subject.id': fingerprint('alice'),
      ...more,
    },
    at,
  )
}

/** An event of a group; attributes without the namespace. */
export function fact(
  group: 'authorization' | 'verification' | 'decision' | 'transition',
  attributes: Attributes,
  at?: number,
): VectorEvent {
  const event = { name: `governance.${group}`, attributes: governance(attributes) }
  return at === undefined ? event : { ...event, at }
}

/** A transition of the execution's state. */
export function transition(from: string, to: string, at?: number, more: Attributes = {}): VectorEvent {
  return fact('transition', { 'transition.type': 'state', 'transition.from': from, 'transition.to': to, ...more }, at)
}
