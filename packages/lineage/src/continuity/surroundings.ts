/**
 * What is around a span, for rules: where its service's part of the execution begins, what is above it, what its
 * services are able to see. Everything is worked out once for an execution, in linear time.
 */
import { isRequestKind } from './classify.ts'
import { descend } from './descend.ts'
import type { Action, Decision } from './facts.ts'
import type { Execution, Joined, Node, Service } from './model.ts'
import { SKEW } from './model.ts'
import { oncePerExecution } from './rule.ts'

/** Decisions around a span: in its own service's part, and in those above. */
export interface Near {
  readonly count: number
  /** One of them is an allow that binds. */
  readonly allows: boolean
}

/** Each is worked out when somebody asks for it first. */
export class Surroundings {
  readonly #execution: Execution
  readonly #entries: readonly Node[]
  #insideAction: readonly boolean[] | undefined
  #belowDecided: readonly boolean[] | undefined
  #seeCredentials: ReadonlySet<Service> | undefined
  #seeDecisions: ReadonlySet<Service> | undefined
  #ran: readonly Action[] | undefined
  #decided: readonly (readonly [Action, Joined])[] | undefined
  #order: { readonly from: Int32Array; readonly to: Int32Array } | undefined
  #near: readonly Near[] | undefined
  #hidden: { readonly credentials: readonly Hidden[]; readonly decisions: readonly Hidden[] } | undefined

  constructor(execution: Execution) {
    this.#execution = execution
    this.#entries = descend<Node>(execution.spans, (node, above) =>
      above === undefined || isEntry(node) ? node : above,
    )
  }

  /** The span with which the part of the execution begins that the span's service does for one caller. */
  entryOf(node: Node): Node {
    return this.#entries[node.place]!
  }

  /** See {@link actionsThatRan}. */
  get ran(): readonly Action[] {
    this.#ran ??= this.#execution.actions.filter((action) => this.#hasRun(action))
    return this.#ran
  }

  #hasRun(action: Action): boolean {
    if (action.outcome === 'refused' || this.isPart(action)) return false
    if (!action.inferred) return true
    const { httpStatus } = this.entryOf(action.on)
    return httpStatus !== 401 && httpStatus !== 403
  }

  /** See {@link decidedActions}. */
  get decided(): readonly (readonly [Action, Joined])[] {
    this.#decided ??= this.ran.flatMap((action) => {
      const joined = this.#execution.joins.get(action)
      return joined === undefined ? [] : [[action, joined] as const]
    })
    return this.#decided
  }

  /** The action was told from ordinary attributes and is below one that somebody named: a part of that one. */
  isPart(action: Action): boolean {
    if (!action.inferred) return false
    this.#insideAction ??= descend<boolean>(
      this.#execution.spans,
      ({ parent }, above) => above === true || (parent?.action !== undefined && !parent.action.inferred),
    )
    return this.#insideAction[action.on.place]!
  }

  /** An action above the span has a decision. */
  isBelowDecided(node: Node): boolean {
    const { spans, joins } = this.#execution
    this.#belowDecided ??= descend<boolean>(
      spans,
      ({ parent }, above) => above === true || (parent?.action !== undefined && joins.has(parent.action)),
    )
    return this.#belowDecided[node.place]!
  }

  /** The span is `above`, or below it. */
  isWithin(node: Node, above: Node): boolean {
    this.#order ??= orderOf(this.#execution.spans)
    const { from, to } = this.#order
    const at = from[node.place]!
    return at >= from[above.place]! && at <= to[above.place]!
  }

  /** The service has a hook for what verifies credentials, or said in this execution what it verified. */
  seesCredentials(service: Service): boolean {
    const { authorizations, verifications } = this.#execution
    this.#seeCredentials ??= this.#seers(CREDENTIAL_LIBRARIES, [
      ...authorizations.filter(({ inherited }) => !inherited),
      ...verifications.filter(({ type }) => type === 'credential'),
    ])
    return this.#seeCredentials.has(service)
  }

  /** The service has a hook for a policy engine, or said in this execution what was decided. */
  seesDecisions(service: Service): boolean {
    this.#seeDecisions ??= this.#seers(DECISION_LIBRARIES, this.#execution.decisions)
    return this.#seeDecisions.has(service)
  }

  #seers(libraries: ReadonlySet<string>, facts: readonly { readonly on: Node }[]): ReadonlySet<Service> {
    return new Set([
      ...this.#execution.services.filter(({ hooks }) => hooks.some((hook) => libraries.has(hook))),
      ...facts.map(({ on }) => on.service),
    ])
  }

  /** What would have to be known to say that nobody was authorized at the span or above it; undefined where all is. */
  hiddenCredentials(node: Node): string | undefined {
    return this.#hiddenAll().credentials[node.place]
  }

  hiddenDecisions(node: Node): string | undefined {
    return this.#hiddenAll().decisions[node.place]
  }

  /** Decisions in the part of the span's service, and in the parts above. */
  near(node: Node): Near {
    this.#near ??= this.#findNear()
    return this.#near[node.place]!
  }

  #findNear(): Near[] {
    const own = new Map<Node, { count: number; allows: boolean }>()
    for (const decision of this.#execution.decisions) {
      const entry = this.entryOf(decision.on)
      const known = own.get(entry) ?? { count: 0, allows: false }
      own.set(entry, known)
      known.count++
      known.allows ||= permits(decision)
    }
    return descend<Near>(this.#execution.spans, (node, above = NOTHING_NEAR) => {
      const here = this.entryOf(node) === node ? own.get(node) : undefined
      if (here === undefined) return above
      return { count: here.count + above.count, allows: here.allows || above.allows }
    })
  }

  #hiddenAll(): { readonly credentials: readonly Hidden[]; readonly decisions: readonly Hidden[] } {
    const { spans, erased } = this.#execution
    const find = (sees: (service: Service) => boolean, what: string): Hidden[] =>
      descend<Hidden>(spans, (node, above) => {
        if (erased.length > 0) return 'what was in an erased segment'
        if (!sees(node.service)) return `${what} in ${serviceOf(node)}`
        if (node.parent !== undefined) return above
        return node.parentId === '' ? undefined : `what is above span ${node.id}`
      })
    this.#hidden ??= {
      credentials: find((service) => this.seesCredentials(service), 'how callers are authorized'),
      decisions: find((service) => this.seesDecisions(service), 'how it is decided'),
    }
    return this.#hidden
  }
}

type Hidden = string | undefined

const NOTHING_NEAR: Near = { count: 0, allows: false }

const CREDENTIAL_LIBRARIES: ReadonlySet<string> = new Set([
  '@modelcontextprotocol/sdk',
  'express-jwt',
  'express-oauth2-jwt-bearer',
  'jose',
  'jsonwebtoken',
  'passport',
])

const DECISION_LIBRARIES: ReadonlySet<string> = new Set([
  '@authzed/authzed-node',
  '@casl/ability',
  '@cedar-policy/cedar-wasm',
  '@open-policy-agent/opa',
  '@openfga/sdk',
  'casbin',
])

function isEntry({ kind, service, parent }: Node): boolean {
  return isRequestKind(kind) || parent?.service !== service
}

/** Number of each span in its tree, and the last number below it. */
function orderOf(spans: readonly Node[]): { readonly from: Int32Array; readonly to: Int32Array } {
  const child = new Int32Array(spans.length).fill(-1)
  const next = new Int32Array(spans.length).fill(-1)
  const roots: number[] = []
  for (let place = spans.length - 1; place >= 0; place--) {
    const parent = spans[place]!.parent
    if (parent === undefined) roots.push(place)
    else {
      next[place] = child[parent.place]!
      child[parent.place] = place
    }
  }
  const from = new Int32Array(spans.length)
  const to = new Int32Array(spans.length).fill(-1)
  let number = 0
  const open = roots
  while (open.length > 0) {
    const place = open.at(-1)!
    from[place] ||= ++number
    const below = child[place]!
    if (below === -1) {
      to[place] = number
      open.pop()
    } else {
      child[place] = next[below]!
      open.push(below)
    }
  }
  return { from, to }
}

export const surroundingsOf = oncePerExecution((execution) => new Surroundings(execution))

/** It binds, and says yes. */
export function permits({ outcome, enforcement }: Decision): boolean {
  return (outcome === 'allow' || outcome === 'transform') && binds(enforcement)
}

/** Whether the application must follow an answer: unless somebody said that it need not. */
export function binds(enforcement: string | undefined): boolean {
  return enforcement !== 'dry_run' && enforcement !== 'advisory'
}

/**
 * Actions that were begun, as far as anybody says, and are not a part of another one. What a service does by itself while
 * it refuses a request, such as a line in a table of refusals, is nobody's action.
 */
export function actionsThatRan(execution: Execution): readonly Action[] {
  return surroundingsOf(execution).ran
}

/** {@link actionsThatRan} and rest on a decision, with that. */
export function decidedActions(execution: Execution): readonly (readonly [Action, Joined])[] {
  return surroundingsOf(execution).decided
}

/**
 * Whether there is no doubt that an action rests on its decision: it names it, it is the only one around, or the
 * decision names the action.
 */
export function isCertain(surroundings: Surroundings, action: Action, { decision, method }: Joined): boolean {
  if (method === 'id' || method === 'link' || method === 'digest') return true
  // One on the action's own span has from that what it does not say itself, so that its name says nothing.
  if (method === 'own') return action.on.decisions.length === 1
  if (decision.action !== undefined && decision.action === action.name) return true
  return surroundings.near(action.on).count === 1
}

/** How far the times of two spans may be apart and say nothing, in nanoseconds. One process has one clock. */
export function tolerance(a: Node, b: Node): bigint {
  return a.emitter !== undefined && a.emitter.id === b.emitter?.id ? ONE_CLOCK : SKEW
}

/** SDKs cut the starts of spans to whole milliseconds, and clocks are set. */
const ONE_CLOCK = 5_000_000n

const MAX_NAME = 64

/** The service's name for details and for what is missing. */
export function serviceOf({ service }: Node): string {
  if (service.name === '') return 'a service without a name'
  return service.name.length <= MAX_NAME ? service.name : `${service.name.slice(0, MAX_NAME).toWellFormed()}…`
}

/** `span 00f067aa0ba902b7 of shop` */
export function spanOf(node: Node): string {
  return `span ${node.id} of ${serviceOf(node)}`
}

/** A duration of nanoseconds, never negative, as seconds: `2.950 s`. */
export function secondsText(nanos: bigint): string {
  const millis = nanos / 1_000_000n
  return `${millis / 1000n}.${String(millis % 1000n).padStart(3, '0')} s`
}

/** Whole seconds as nanoseconds. */
export function fromSeconds(seconds: number): bigint {
  return BigInt(seconds) * 1_000_000_000n
}
