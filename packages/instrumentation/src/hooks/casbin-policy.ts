/**
 * Which policy a casbin model holds: its digest, made again only after a change, and the transitions between them.
 *
 * The digest is `sha256:` over the canonical JSON of `{"model": {section: {key: value}}, "policy": {type: rows}}`, rows
 * in casbin's order, which decides between them. Known hole: a row that the application changes in place, past the
 * methods of the model.
 */
import { createCache } from '../cache.ts'
import { canonicalJson } from '../canonical.ts'
import type { Transition } from '../facts.ts'
import { runtime } from '../runtime.ts'
import { digestOf } from '../secrets.ts'
import { MAX_PREPARED, type PreparedDecisions } from './prepared.ts'

interface Assertion {
  readonly value: string
  readonly tokens: readonly string[]
  readonly policy: readonly (readonly string[])[]
}

/** What is used of casbin's `Model`, the same in all of 5.x. */
export interface Model {
  readonly model: ReadonlyMap<string, ReadonlyMap<string, Assertion>>
}

/** Policies of more rows have no digest: making one holds the service up, 7 ms for so many. */
const MAX_ROWS = 10_000

/** Sections of a model whose assertions have rows: permissions and roles. */
const WITH_ROWS = ['p', 'g']

export interface Policies {
  /** Undefined if the policy is too large. */
  digest(model: Model): string | undefined
  /** Decisions that were made under the policy that `digest` gave last, for whoever can tell that one is like another. */
  facts(model: Model): PreparedDecisions
  /** Notes a change. One transition is reported for all changes that were made before the event loop is idle. */
  changed(model: Model, trigger: string): void
  /** Runs around a load, in which rows come one by one; returns what ends it. */
  loading(model: Model, trigger: string): () => void
  /** Another model takes the place of `before`. */
  replaced(before: Model | undefined, after: Model, trigger: string): void
}

/** What is known of one model. */
interface Known {
  /** As of `rows`; null after a change. */
  digest: string | undefined | null
  rows: number
  facts: PreparedDecisions | undefined
  /** The digest that the last transition led to. */
  reported: string | undefined
  loads: number
  isDue: boolean
  trigger: string
}

export function createPolicies(report: (fact: Transition) => void): Policies {
  const models = new WeakMap<Model, Known>()
  const knownOf = (model: Model): Known => {
    let known = models.get(model)
    if (known === undefined) {
      known = {
        digest: null,
        rows: 0,
        facts: undefined,
        reported: undefined,
        loads: 0,
        isDue: false,
        trigger: '',
      }
      models.set(model, known)
    }
    return known
  }

  const digest = (model: Model): string | undefined => {
    const known = knownOf(model)
    const rows = rowsOf(model)
    if (known.digest === null || known.rows !== rows) {
      known.digest = rows > MAX_ROWS ? undefined : digestOfModel(model)
      known.rows = rows
      known.facts = undefined
    }
    return known.digest
  }

  const reportNow = (model: Model, known: Known): void => {
    const to = digest(model)
    const from = known.reported
    known.reported = to
    if (to !== undefined && to === from) return
    const { trigger } = known
    report({ type: 'policy', from, to: to ?? 'unknown', trigger, engine: 'casbin', policyDigest: to })
  }

  const changed = (model: Model, trigger: string): void => {
    const known = knownOf(model)
    if (known.reported === undefined && typeof known.digest === 'string') known.reported = known.digest
    known.digest = null
    if (known.loads === 0) known.trigger = trigger
    if (known.isDue) return
    known.isDue = true
    // Runs in the caller's context, so that the transition is on the span of whoever changed the policy.
    runtime().idle.later(() => {
      known.isDue = false
      if (known.loads === 0) reportNow(model, known)
    })
  }

  return {
    digest,
    facts(model) {
      const known = knownOf(model)
      known.facts ??= createCache(MAX_PREPARED)
      return known.facts
    },
    changed,
    loading(model, trigger) {
      const known = knownOf(model)
      known.loads++
      known.trigger = trigger
      return () => {
        known.loads--
        changed(model, trigger)
      }
    },
    replaced(before, after, trigger) {
      const known = knownOf(after)
      if (before !== undefined && before !== after) known.reported = digest(before)
      changed(after, trigger)
    },
  }
}

function rowsOf({ model }: Model): number {
  let rows = 0
  for (const section of WITH_ROWS) {
    const assertions = model.get(section)
    if (assertions !== undefined) for (const { policy } of assertions.values()) rows += policy.length
  }
  return rows
}

function digestOfModel({ model }: Model): string | undefined {
  const text: Record<string, Record<string, string>> = {}
  const policy: Record<string, unknown> = {}
  for (const [section, assertions] of model) {
    const values: Record<string, string> = {}
    for (const [key, assertion] of assertions) {
      values[key] = assertion.value
      if (WITH_ROWS.includes(section)) policy[key] = assertion.policy
    }
    text[section] = values
  }
  const canonical = canonicalJson({ model: text, policy })
  return canonical === undefined ? undefined : digestOf(canonical)
}
