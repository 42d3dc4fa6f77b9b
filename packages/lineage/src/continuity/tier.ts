/**
 * Evidence tiers: how far away from the process that a fact is about somebody stands who said it (docs/audit/tiers.md).
 *
 * Derived from the execution and its context, and never recorded: receipts say who delivered a record, spans their
 * number in their process. So a collector and whoever verifies a bundle come to the same. A tier says who vouches for a
 * fact, not whether it is true, and no verdict rests on it alone.
 */
import { formatHex } from '../bytes.ts'
import type { Action, Authorization, Decision, Request, Transition, Verification } from './facts.ts'
import type { Execution, Node } from './model.ts'
import type { Subject } from './rule.ts'
import { brokenEmitters } from './rules/emitter.ts'
import { word } from './words.ts'

/**
 * E0: nobody said it, or nothing shows that a hook did. E1: an instrumentation in the process said it. E2: its sender was
 * authenticated, and nothing is missing of its numbers as far as is seen. E3: somebody else said it, who was authenticated.
 */
export const TIERS = ['E0', 'E1', 'E2', 'E3'] as const
export type Tier = (typeof TIERS)[number]

export type TieredFact = Request | Authorization | Verification | Decision | Transition | Action

/** How a fact, or what is built from several, stands. */
export interface Standing {
  readonly tier: Tier
  /** For people: `E1, said by the service itself`. */
  readonly text: string
}

/** Doors through which other systems push what they know, each authenticated by the collector (docs/operate). */
const OUTSIDE: ReadonlySet<string> = new Set(['opa', 'ssf'])

/**
 * The record was pushed by an authenticated system of its own, and not by the peer who sent the span that it is about.
 * The attribute `governance.corroboration.source` plays no part: any sender can write it.
 */
export function isOutside({ receiver, peer, about }: Node): boolean {
  return OUTSIDE.has(receiver) && peer !== '' && about?.peer !== peer
}

/** The first word of a policy engine's own log about each decision id that says an outcome, by the id. */
export function engineWords({ decisions }: Pick<Execution, 'decisions'>): Map<string, Decision> {
  const words = new Map<string, Decision>()
  for (const decision of decisions) {
    const { id, outcome, on } = decision
    if (id !== undefined && outcome !== undefined && isOutside(on) && !words.has(id)) words.set(id, decision)
  }
  return words
}

/** What its engine's own log says about a decision; undefined where it says nothing, or the same peer said both. */
export function wordAbout(decision: Decision, words: ReadonlyMap<string, Decision>): Decision | undefined {
  const found = decision.id === undefined ? undefined : words.get(decision.id)
  if (found === undefined || decision.outcome === undefined || isOutside(decision.on)) return undefined
  return found.on.peer === decision.on.peer ? undefined : found
}

const INFERRED: Standing = { tier: 'E0', text: 'E0, inferred from ordinary attributes' }
const UNMARKED: Standing = { tier: 'E0', text: 'E0, said without the marks of an instrumentation' }
const OWN_WORD: Standing = { tier: 'E1', text: 'E1, said by the service itself' }

/** The tiers of one execution. Linear to make, up to a sort. */
export class Tiers {
  readonly #ofNode = new Map<Node, Standing>()
  readonly #confirmed = new Map<Decision, Standing>()
  readonly #execution: Execution
  /** Peers from whom the numbers of an emitter came, of those whose numbers and links hold. */
  readonly #emitters: ReadonlyMap<string, string>
  #ofLeaf: Map<string, Standing> | undefined

  constructor(execution: Execution) {
    this.#execution = execution
    this.#emitters = countedEmitters(execution)
    const words = engineWords(execution)
    if (words.size === 0) return
    for (const decision of execution.decisions) {
      const found = wordAbout(decision, words)
      if (found?.outcome === decision.outcome && found !== undefined)
        this.#confirmed.set(decision, {
          tier: 'E3',
          text: `E3, confirmed from outside by ${word(found.on.peer)}`,
        })
    }
  }

  of(fact: TieredFact): Standing {
    if ('inferred' in fact && fact.inferred) return INFERRED
    return this.#confirmed.get(fact as Decision) ?? this.ofNode(fact.on)
  }

  /** How stands what a span or log record says, whatever that is. */
  ofNode(node: Node): Standing {
    let standing = this.#ofNode.get(node)
    if (standing === undefined) {
      standing = this.#find(node)
      this.#ofNode.set(node, standing)
    }
    return standing
  }

  #find(node: Node): Standing {
    const { emitter, peer, unfinished } = node
    if (isOutside(node)) return { tier: 'E3', text: `E3, said from outside by ${word(peer)}` }
    if (emitter === undefined) return unfinished ? OWN_WORD : UNMARKED
    if (peer === '' || this.#emitters.get(emitter.id) !== peer) return OWN_WORD
    return { tier: 'E2', text: `E2, said by the service itself, counted and authenticated as ${word(peer)}` }
  }

  /** How the record with this leaf hash stands; undefined for what is no fact and no span of this execution. */
  ofLeaf(leaf: Uint8Array): Standing | undefined {
    this.#ofLeaf ??= this.#byLeaf()
    return this.#ofLeaf.get(formatHex(leaf))
  }

  #byLeaf(): Map<string, Standing> {
    const found = new Map<string, Standing>()
    for (const node of this.#execution.spans) found.set(formatHex(node.leaf), this.ofNode(node))
    for (const fact of factsOf(this.#execution)) found.set(formatHex(fact.leaf), this.of(fact))
    return found
  }

  /** The lowest of several: what rests on all of them stands no better. Undefined for none. */
  lowest(standings: Iterable<Standing | undefined>): Standing | undefined {
    let low: Standing | undefined
    let differs = false
    for (const one of standings) {
      if (one === undefined) continue
      differs ||= low !== undefined && low.text !== one.text
      if (low === undefined || one.tier < low.tier) low = one
    }
    return low === undefined || !differs ? low : { ...low, text: low.text.replace(',', ' at the lowest,') }
  }

  lowestOf(records: readonly Subject[]): Standing | undefined {
    return this.lowest(records.map(({ leaf }) => this.ofLeaf(leaf)))
  }

  /** How many facts there are of each tier. What only ordinary attributes tell of a span without governance is none. */
  count(): Record<Tier, number> {
    const counts = { E0: 0, E1: 0, E2: 0, E3: 0 }
    for (const fact of factsOf(this.#execution)) if (fact.on.governed) counts[this.of(fact).tier]++
    return counts
  }
}

function* factsOf(execution: Execution): Generator<TieredFact> {
  yield* execution.requests
  yield* execution.authorizations
  yield* execution.verifications
  yield* execution.decisions
  yield* execution.transitions
  yield* execution.actions
}

/**
 * Emitters all of whose spans here came from one authenticated peer over OTLP, without a gap, a loss that is told or a link
 * that does not hold. None where something was erased or is withheld: a number may be missing for that.
 */
function countedEmitters(execution: Execution): ReadonlyMap<string, string> {
  const peers = new Map<string, string>()
  if (execution.erased.length > 0) return peers
  for (const { emitter, peer, receiver } of execution.spans) {
    if (emitter === undefined) continue
    const known = peers.get(emitter.id)
    const isSender = receiver.startsWith('otlp/') && (known === undefined || known === peer)
    peers.set(emitter.id, isSender ? peer : '')
  }
  for (const id of brokenEmitters(execution)) peers.delete(id)
  return peers
}

/** Not kept with the execution: tiers depend on its context. */
const known = new WeakMap<Execution, Tiers>()

export function tiersOf(execution: Execution): Tiers {
  let found = known.get(execution)
  if (found === undefined) {
    found = new Tiers(execution)
    known.set(execution, found)
  }
  return found
}
