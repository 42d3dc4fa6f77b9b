/**
 * The execution as rules see it: spans of all its segments in one tree, with their facts read.
 *
 * It is built from what is in the payloads and the log, by the collector when it seals and by a verifier when it checks.
 * Spans are read once and let go: an execution of 100,000 spans is some tens of megabytes here.
 */
import { copyBytes, formatHex } from '../bytes.ts'
import { ACTION_DIGEST, ACTION_NAME, DECISION_ID, NAMESPACE } from '../governance/attributes.ts'
import type { Claim, Fact, SpanFacts } from '../governance/facts.ts'
import { factsOf } from '../governance/facts.ts'
import { Kind } from '../governance/kind.ts'
import { decodeOutline, type Span, type SpanLink, type SpanOutline } from '../otlp/decode.ts'
import { KeyNames } from '../otlp/key-names.ts'
import { decodeEither, LOG_RECORD } from '../otlp/log-record.ts'
import { FLAG_HAS_IS_REMOTE, FLAG_IS_REMOTE } from '../otlp/span-table.ts'
import type { AnyValue } from '../otlp/value.ts'
import { Parent } from '../record/entry.ts'
import { type GovernedSpan, type JoinedSpan, type JoinMethod, joinDecisions } from '../record/join.ts'
import { idHex, type Source, type SpanInput } from '../record/order.ts'
import { CLASSIFYING, type Inferred, infer, isRequestKind } from './classify.ts'
import type { Context } from './context.ts'
import { nearest } from './descend.ts'
import {
  type Action,
  type Authorization,
  ClaimReader,
  type Decision,
  type EmitterMark,
  type Request,
  readAction,
  readAuthorization,
  readDecision,
  readEmitter,
  readRequest,
  readTransition,
  readVerification,
  type Transition,
  type Verification,
} from './facts.ts'
import type { Subject } from './rule.ts'
import { type Described, describedBy, type Received, receivedOf } from './sources.ts'

/** One segment of the execution as its model is built from it. */
export interface Part {
  readonly segment: number
  /** In record order. */
  readonly spans: readonly PartSpan[]
  /** No span of it was erased. */
  readonly isWhole: boolean
}

export interface PartSpan {
  readonly input: SpanInput
  /** The span with its facts, where whoever adds it has decoded it. */
  readonly decoded?: { readonly span: Span; readonly facts: SpanFacts } | undefined
  /** Leaf hash of its span-born record, and of each of its facts in record order. */
  readonly leaf: Uint8Array
  readonly factLeaves: readonly Uint8Array[]
  readonly parent: Parent
  /** Where `parent` is linked: its place in this part, if it is in it and whoever adds it knows; */
  readonly parentAt?: number | undefined
  /** else the leaf hash of its record. */
  readonly parentLeaf: Uint8Array
}

/** A process, as its resource describes it. */
export interface Service extends Described {
  /** It says of itself what governs it: an instrumentation, or governance attributes on one of its spans here. */
  covered: boolean
}

interface Link {
  readonly traceId: string
  readonly spanId: string
  /** Whether it is in another process; undefined where OTLP does not say. */
  readonly remote: boolean | undefined
}

/** A span of the execution. */
export interface Node extends Subject {
  /** In {@link Execution.spans}. */
  readonly place: number
  readonly segment: number
  /** 16 hex digits. */
  readonly id: string
  /** 16 hex digits, or empty. */
  readonly parentId: string
  readonly parentState: Parent
  /** Linked, or adopted later. */
  readonly parent: Node | undefined
  /** Of a log record: the span that it is about, where that has come. What the record says is among the span's facts, too. */
  readonly about: Node | undefined
  /** Its parent is in the log and below it. */
  readonly opensCycle: boolean
  readonly service: Service
  readonly name: string
  /** OTLP span kind; over 5 for what is no span. */
  readonly kind: number
  /** Nanoseconds since 1970. */
  readonly start: bigint
  readonly end: bigint
  /** It carries governance. */
  readonly governed: boolean
  /** The parent is in another process, as OTLP says. */
  readonly remote: boolean
  /**
   * `http.response.status_code`, or that of older conventions. From here to the links: to be asked of governed spans, actions and
   * what a part of the execution begins with alone; of others it may not have been read (isLookedAt).
   */
  readonly httpStatus: number | undefined
  /** Attributes, events and links that its SDK or its sender dropped. */
  readonly droppedCount: number
  /** A sampler let only some spans of its kind through (`ot=th` in the trace state). */
  readonly sampled: boolean
  /** Values and facts of the instrumentation's own that it cut or left out because of their size or number. */
  readonly truncatedCount: number
  /** Attributes that were taken out or masked on the way, as the span itself tells. */
  readonly redactedCount: number
  readonly links: readonly Link[]
  /** When the collector received it: nanoseconds since 1970; and from whom, empty where nobody authenticated. */
  readonly receivedAt: bigint
  readonly peer: string
  /** The door that it came through (record/receipt.ts). */
  readonly receiver: string
  readonly emitter: EmitterMark | undefined
  /** The process died before it ended; it has no number then. */
  readonly unfinished: boolean
  readonly request: Request | undefined
  readonly action: Action | undefined
  readonly authorizations: readonly Authorization[]
  readonly verifications: readonly Verification[]
  readonly decisions: readonly Decision[]
  readonly transitions: readonly Transition[]
  /** Nearest span at or above it with an authorization, verified, inherited or not. */
  readonly authority: Node | undefined
}

export interface Joined {
  readonly decision: Decision
  /** `own`: it is on the action's span. */
  readonly method: JoinMethod | 'own'
}

export interface Execution {
  readonly tenant: string
  readonly traceId: Uint8Array
  /** When it was judged: nanoseconds since 1970. */
  readonly evaluatedAt: bigint
  /** In log order. */
  readonly spans: readonly Node[]
  readonly services: readonly Service[]
  /** Of all spans, in log order. */
  readonly requests: readonly Request[]
  readonly authorizations: readonly Authorization[]
  readonly verifications: readonly Verification[]
  readonly decisions: readonly Decision[]
  readonly transitions: readonly Transition[]
  readonly actions: readonly Action[]
  /** Decision of each action that has one. */
  readonly joins: ReadonlyMap<Action, Joined>
  /** Numbers of segments of which something was erased: what that was is unknown. */
  readonly erased: readonly number[]
  readonly context: Context
  /** What was worked out of it, whatever the context is (rule.ts, oncePerExecution): a copy may have another context only. */
  readonly derived: unknown[]
}

export interface ExecutionHead {
  readonly tenant: string
  readonly traceId: Uint8Array
  readonly evaluatedAt: bigint
}

/** Times of different clocks that lie closer together than this say nothing: nanoseconds. */
export const SKEW = 2_000_000_000n

interface GrowingNode extends Node {
  parent: Node | undefined
  opensCycle: boolean
  about: Node | undefined
  authority: Node | undefined
  httpStatus: number | undefined
  droppedCount: number
  sampled: boolean
  truncatedCount: number
  redactedCount: number
  links: readonly Link[]
  emitter: EmitterMark | undefined
  unfinished: boolean
  request: Request | undefined
  action: Action | undefined
  authorizations: Authorization[]
  verifications: Verification[]
  decisions: Decision[]
  transitions: Transition[]
}

/** Whether more segments may come when the bytes of those that were added are gone: their memory may be used again. */
type Keeping = 'kept' | 'dropped'

/**
 * Builds an execution segment by segment, in their order. Every span is decoded once, and unless the builder is to be dropped
 * when its execution was judged, nothing is kept of the bytes that it was decoded from.
 */
export class ExecutionBuilder {
  readonly #erased: number[] = []
  readonly #nodes: GrowingNode[] = []
  /** For each node its parent's place; or the leaf hash of its parent's record, empty where it has none. */
  readonly #parents: (number | Uint8Array)[] = []
  #index: NodeIndex | undefined
  /** By {@link Described.key}. */
  readonly #services = new Map<string, Service>()
  readonly #governed: GovernedSpan[] = []
  readonly #logs: GrowingNode[] = []
  readonly #keeping: Keeping
  /** Of the span before: most come in the same request from the same process. */
  #last: { contexts: Source['contexts']; at: number; service: Service; received: Received } | undefined

  constructor(keeping: Keeping) {
    this.#keeping = keeping
  }

  add({ segment, spans, isWhole }: Part): void {
    if (!isWhole) this.#erased.push(segment)
    const first = this.#nodes.length
    for (const span of spans) this.#addSpan(segment, span, first)
  }

  /** `first` is the place of the segment's first span. */
  #addSpan(segment: number, part: PartSpan, first: number): void {
    const { input, decoded, parentAt } = part
    const { service, received } = this.#originOf(input)
    if (input.governed) service.covered = true
    const above = parentAt === undefined ? undefined : this.#nodes[first + parentAt]
    const span = decoded?.span ?? (isLookedAt(input, service, above) ? decodeInput(input) : undefined)
    const { name, startTimeUnixNano, endTimeUnixNano } = span ?? outlineOf(input)
    const { receivedAt, peer, receiver } = received
    const node: GrowingNode = {
      place: this.#nodes.length,
      leaf: part.leaf,
      segment,
      id: idHex(input.id),
      parentId: above?.id ?? idHex(input.parent),
      parentState: part.parent,
      parent: undefined,
      opensCycle: false,
      about: undefined,
      service,
      name,
      kind: input.kind,
      start: startTimeUnixNano,
      end: endTimeUnixNano,
      governed: input.governed,
      remote: input.remote,
      httpStatus: undefined,
      droppedCount: 0,
      sampled: false,
      truncatedCount: 0,
      redactedCount: 0,
      links: NONE,
      receivedAt,
      peer,
      receiver,
      emitter: undefined,
      unfinished: false,
      request: undefined,
      action: undefined,
      authorizations: NONE,
      verifications: NONE,
      decisions: NONE,
      transitions: NONE,
      authority: undefined,
    }
    this.#nodes.push(node)
    this.#parents.push(parentAt === undefined ? part.parentLeaf : first + parentAt)
    if (node.kind === LOG_RECORD) this.#logs.push(node)
    if (span === undefined) return
    addNotices(node, span)
    if (input.governed) this.#addFacts(node, part, span)
    // An instrumentation has looked at its spans itself: what it did not mark is no action, such as asking an engine.
    addInferred(node, span, infer(span, service.instrumentation === undefined))
  }

  #addFacts(node: GrowingNode, part: PartSpan, span: Span): void {
    const facts = part.decoded?.facts ?? factsOf(span)
    const own = new ClaimReader(facts.claims)
    node.emitter = readEmitter(own)
    node.unfinished = own.flag('governance.emitter.unfinished') === true
    for (const [at, fact] of facts.facts.entries()) this.#addFact(node, part.factLeaves[at]!, fact, facts)
    const base = { on: node, leaf: part.leaf, at: node.start }
    if (facts.kind === Kind.action) node.action = readAction(base, own)
    if (facts.kind === Kind.request) node.request = readRequest(base, own)
    const isKept = this.#keeping === 'kept'
    this.#governed.push({
      place: node.place,
      parentAt: -1,
      span: isKept ? detached(span) : span,
      facts: isKept ? slim(facts) : facts,
      leaf: node.place,
      factLeaves: NONE,
    })
  }

  #addFact(node: GrowingNode, leaf: Uint8Array, fact: Fact, facts: SpanFacts): void {
    const { kind, time } = fact
    const isDone = kind === Kind.verification || kind === Kind.decision
    const base = { on: node, leaf, at: time !== 0n ? time : isDone ? node.end : node.start }
    // What the event of a decision does not say, its span may.
    const claims = new ClaimReader(fact.claims, kind === Kind.decision ? joinClaims(facts) : undefined)
    if (kind === Kind.authorization)
      node.authorizations = grown(node.authorizations, readAuthorization(base, claims))
    else if (kind === Kind.verification)
      node.verifications = grown(node.verifications, readVerification(base, claims))
    else if (kind === Kind.decision) node.decisions = grown(node.decisions, readDecision(base, claims))
    else if (kind === Kind.transition)
      node.transitions = grown(node.transitions, readTransition(base, claims))
    else if (kind === Kind.request) node.request ??= readRequest(base, claims)
    else if (kind === Kind.action) node.action ??= readAction(base, claims)
  }

  /** Made when somebody looks: an execution of one segment in which nobody's parent is missing never does. */
  #indexed(): NodeIndex {
    this.#index ??= new NodeIndex()
    this.#index.add(this.#nodes)
    return this.#index
  }

  #originOf(input: SpanInput): { readonly service: Service; readonly received: Received } {
    const { contexts } = input.source
    const at = input.resourceStart
    if (this.#last?.contexts !== contexts || this.#last.at !== at) {
      const service = this.#service(describedBy(input))
      this.#last = { contexts, at, service, received: receivedOf(input.source) }
    }
    return this.#last
  }

  #service(described: Described): Service {
    let service = this.#services.get(described.key)
    if (service === undefined) {
      service = { ...described, covered: described.instrumentation !== undefined }
      this.#services.set(described.key, service)
    }
    return service
  }

  /** The execution as far as it was added. The next one shares its nodes: use one at a time. Linear. */
  execution(head: ExecutionHead, context: Context): Execution {
    const nodes = this.#nodes
    this.#attachLogs()
    this.#linkParents()
    this.#findAuthority()
    const requests: Request[] = []
    const authorizations: Authorization[] = []
    const verifications: Verification[] = []
    const decisions: Decision[] = []
    const transitions: Transition[] = []
    const actions: Action[] = []
    for (const node of nodes) {
      if (node.request !== undefined) requests.push(node.request)
      if (node.action !== undefined) actions.push(node.action)
      if (node.about !== undefined) continue
      for (const one of node.authorizations) authorizations.push(one)
      for (const one of node.verifications) verifications.push(one)
      for (const one of node.decisions) decisions.push(one)
      for (const one of node.transitions) transitions.push(one)
    }
    const { tenant, traceId, evaluatedAt } = head
    return {
      tenant,
      traceId,
      evaluatedAt,
      spans: nodes,
      services: [...this.#services.values()],
      requests,
      authorizations,
      verifications,
      decisions,
      transitions,
      actions,
      joins: this.#join(actions),
      erased: this.#erased,
      context,
      derived: [],
    }
  }

  /**
   * What log records say counts as said on the span that they are about, once it has come: unless another sender of OTLP is
   * known to have sent the span, who alone can say what happened in it.
   */
  #attachLogs(): void {
    for (const log of this.#logs) {
      if (log.about !== undefined) continue
      const about = this.#indexed().spanOf(log.id)
      if (about === undefined || isOfAnother(log, about)) continue
      log.about = about
      for (const one of log.authorizations) about.authorizations = grown(about.authorizations, one)
      for (const one of log.verifications) about.verifications = grown(about.verifications, one)
      for (const one of log.decisions) about.decisions = grown(about.decisions, one)
      for (const one of log.transitions) about.transitions = grown(about.transitions, one)
    }
  }

  /** Linked parents by their leaf; who waited, by whom came later under the id. A cycle over several segments stays open. */
  #linkParents(): void {
    const nodes = this.#nodes
    let isOpen = this.#logs.length > 0
    for (let place = 0; place < nodes.length; place++) {
      const node = nodes[place]!
      if (node.parentState === Parent.linked) {
        const parent = this.#parents[place]!
        node.parent = typeof parent === 'number' ? nodes[parent] : this.#indexed().ofLeaf(parent)
      } else if (node.parentState === Parent.awaiting || node.parentState === Parent.remote) isOpen = true
    }
    if (!isOpen) return
    /** For each node one above it in its tree, or itself at the root; paths are halved as they are walked. */
    const above = nodes.map((node, place) => node.parent?.place ?? place)
    const rootOf = (place: number): number => {
      let at = place
      while (above[at] !== at) at = above[at] = above[above[at]!]!
      return at
    }
    for (const [place, node] of nodes.entries()) {
      if (node.parentState !== Parent.awaiting && node.parentState !== Parent.remote) continue
      const parent = this.#indexed().standingFor(node.parentId)
      if (parent === undefined) continue
      // Whoever waits for a parent that was there already opens a cycle in its segment (record.md, "Span-born records").
      node.opensCycle = parent.segment <= node.segment || rootOf(parent.place) === place
      if (node.opensCycle) continue
      node.parent = parent
      above[place] = parent.place
    }
    for (const log of this.#logs) {
      if (log.about === undefined || rootOf(log.about.place) === log.place) continue
      log.parent = log.about
      above[log.place] = log.about.place
    }
  }

  #findAuthority(): void {
    const nodes = this.#nodes
    const authorities = nearest(nodes, ({ authorizations }) => authorizations.length > 0)
    for (let place = 0; place < nodes.length; place++) nodes[place]!.authority = authorities[place]
  }

  #join(actions: readonly Action[]): Map<Action, Joined> {
    const joins = new Map<Action, Joined>()
    if (actions.length === 0) return joins
    const nodes = this.#nodes
    for (const action of actions) {
      const own = action.on.decisions[0]
      if (own !== undefined) joins.set(action, { decision: own, method: 'own' })
    }
    // Leaves stand for places here: of the action's span; of a decision, place and number of the fact.
    const decisions: Decision[] = []
    const governed = this.#governed.map((on) => {
      const node = nodes[on.place]!
      let next = 0
      const factLeaves = on.facts.facts.map((fact) =>
        fact.kind === Kind.decision ? decisions.push(node.decisions[next++]!) - 1 : -1,
      )
      const { place, parent } = node.about ?? node
      return { ...on, place, parentAt: parent?.place ?? -1, factLeaves }
    })
    if (decisions.length === 0) return joins
    const parents = nodes.map((node) =>
      node.parent !== undefined && node.parent.place < node.place ? node.parent.place : -1,
    )
    for (const { action, decision, method } of joinDecisions(governed, parents)) {
      const of = nodes[action]!.action
      if (of !== undefined && !joins.has(of)) joins.set(of, { decision: decisions[decision]!, method })
    }
    return joins
  }
}

/** What most nodes have none of: not to be changed, and replaced by {@link grown}. */
const NONE: never[] = []

function grown<T>(list: T[], one: T): T[] {
  if (list === NONE) return [one]
  list.push(one)
  return list
}

/** Nodes by what they are known by. */
class NodeIndex {
  #indexed = 0
  readonly #byLeaf = new Map<string, GrowingNode>()
  /** The first record of each span id; and the first span, not log record. */
  readonly #byId = new Map<string, GrowingNode>()
  readonly #spans = new Map<string, GrowingNode>()

  /** Takes in those that are not in it yet. */
  add(nodes: readonly GrowingNode[]): void {
    for (; this.#indexed < nodes.length; this.#indexed++) {
      const node = nodes[this.#indexed]!
      this.#byLeaf.set(keyOf(node.leaf), node)
      if (!this.#byId.has(node.id)) this.#byId.set(node.id, node)
      if (node.kind !== LOG_RECORD && !this.#spans.has(node.id)) this.#spans.set(node.id, node)
    }
  }

  ofLeaf(leaf: Uint8Array): GrowingNode | undefined {
    return this.#byLeaf.get(keyOf(leaf))
  }

  spanOf(id: string): GrowingNode | undefined {
    return this.#spans.get(id)
  }

  /** The span with this id; else the first record that has it. */
  standingFor(id: string): GrowingNode | undefined {
    return this.#spans.get(id) ?? this.#byId.get(id)
  }
}

function linkOf({ traceId, spanId, flags }: SpanLink): Link {
  return {
    traceId: formatHex(traceId),
    spanId: formatHex(spanId),
    remote: (flags & FLAG_HAS_IS_REMOTE) === 0 ? undefined : (flags & FLAG_IS_REMOTE) !== 0,
  }
}

/** A sampler says that it let a share through (W3C trace context level 2, consistent probability sampling). */
const SAMPLED = /(?:^|,)\s*ot=[^,]*\bth:(?!0(?:[;,]|$))/

function isOfAnother(log: Node, span: Node): boolean {
  return log.receiver.startsWith('otlp/') && span.peer !== '' && log.peer !== span.peer
}

/**
 * Whether attributes of a span say anything here: it may be something that nobody said, or what its service did for a caller
 * may begin with it, and how that ended counts.
 */
function isLookedAt({ governed, kind }: SpanInput, service: Service, above: Node | undefined): boolean {
  return (
    governed || service.instrumentation === undefined || isRequestKind(kind) || above?.service !== service
  )
}

/** What attributes and counts say of a span beside its facts. */
function addNotices(node: GrowingNode, span: Span): void {
  for (const { key, value } of span.attributes) {
    const notice = NOTICES.get(key)
    if (notice === undefined) continue
    if (notice === 'status') {
      if (value.type === 'int') node.httpStatus ??= Number(value.value)
    } else if (notice === 'url') {
      // As the instrumentation leaves them.
      if (value.type === 'string' && value.value.includes('=REDACTED')) node.redactedCount++
    } else if (notice === 'redacted') node.redactedCount += countOf(value)
    else node.truncatedCount += countOf(value)
  }
  for (const { attributes } of span.events)
    for (const { key, value } of attributes)
      if (NOTICES.get(key) === 'truncated') node.truncatedCount += countOf(value)
  if (span.links.length > 0) node.links = span.links.map(linkOf)
  node.droppedCount = span.droppedAttributesCount + span.droppedEventsCount + span.droppedLinksCount
  node.sampled = span.traceState !== '' && SAMPLED.test(span.traceState)
}

function countOf(value: AnyValue): number {
  return value.type === 'int' ? Math.max(0, Number(value.value)) : 0
}

/** What nobody said, and ordinary attributes tell. */
function addInferred(node: GrowingNode, span: Span, inferred: Inferred | undefined): void {
  if (inferred === undefined || node.request !== undefined || node.action !== undefined) return
  const base = { on: node, leaf: node.leaf, at: node.start }
  if (inferred.kind === 'request')
    node.request = { ...readRequest(base, NO_CLAIMS), inferred: true, kind: inferred.name }
  else
    node.action = {
      ...readAction(base, NO_CLAIMS),
      inferred: true,
      name: inferred.name,
      type: inferred.type,
      outcome: span.status.code === 2 ? 'failure' : undefined,
    }
}

/** The counts of redaction are those of the OpenTelemetry Collector's processor. */
const NOTICES: ReadonlyMap<string, 'status' | 'url' | 'redacted' | 'truncated'> = new Map([
  ['http.response.status_code', 'status'],
  ['http.status_code', 'status'],
  ['url.query', 'url'],
  ['url.full', 'url'],
  ['http.url', 'url'],
  ['http.target', 'url'],
  ['redaction.redacted.count', 'redacted'],
  ['redaction.masked.count', 'redacted'],
  ['governance.truncated.values', 'truncated'],
  ['governance.truncated.facts', 'truncated'],
])
const WANTED = new KeyNames([...CLASSIFYING, ...NOTICES.keys()], NAMESPACE)

const NO_CLAIMS = new ClaimReader([])
const JOIN_KEYS: ReadonlySet<string> = new Set([DECISION_ID, ACTION_DIGEST, ACTION_NAME])

/** What joining looks at of a span, in memory of its own. */
function detached(span: Span): JoinedSpan {
  return {
    spanId: copyBytes(span.spanId),
    traceId: copyBytes(span.traceId),
    links: span.links.map((link) => ({
      traceId: copyBytes(link.traceId),
      spanId: copyBytes(link.spanId),
    })),
    startTimeUnixNano: span.startTimeUnixNano,
    endTimeUnixNano: span.endTimeUnixNano,
  }
}

function joinClaims({ claims }: Pick<SpanFacts, 'claims'>): Claim[] {
  return claims.filter(({ key }) => JOIN_KEYS.has(key))
}

/** Only what joining looks at. What was said may be a view of the bytes that it was decoded from. */
function slim(facts: SpanFacts): SpanFacts {
  const only = (one: Pick<SpanFacts, 'claims'>): Claim[] =>
    joinClaims(one).map((claim) => ({ ...claim, said: { type: 'empty' } }))
  return {
    kind: facts.kind,
    claims: only(facts),
    facts: facts.facts.map((fact) => ({ ...fact, claims: only(fact) })),
  }
}

/** A span or log record with the attributes that are looked at: by facts, by their testimony, and here. */
export function decodeInput({ kind, source, spanStart, spanEnd }: SpanInput): Span {
  return decodeEither(kind, source.body.subarray(spanStart, spanEnd), WANTED)
}

function outlineOf({ source, spanStart, spanEnd }: SpanInput): SpanOutline {
  return decodeOutline(source.body, spanStart, spanEnd)
}

/** A hash as a key: a character for each byte, which leaves a twentieth of the garbage of hex. */
function keyOf(leaf: Uint8Array): string {
  return String.fromCharCode.apply(null, leaf as unknown as number[])
}
