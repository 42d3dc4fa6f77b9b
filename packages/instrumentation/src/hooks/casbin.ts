/**
 * casbin: every way to ask an enforcer, and every way to change what it answers by.
 *
 * The class that decides is not exported, so the hook finds it on the prototypes of `Enforcer`. Decisions that are
 * alike on one span share an event. A policy has no identity of its own; the digest of model and rows stands for it.
 */
import type { Decision } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import { digestOf } from '../secrets.ts'
import { createPolicies, type Model, type Policies } from './casbin-policy.ts'
import type { Hook, Library } from './hook.ts'
import type { Call, CallOutcome } from './observe.ts'
import { ownerOf, prototypeOf } from './owner.ts'
import { type Part, type Parts, preparedDecision } from './prepared.ts'
import { attempt, failure, member } from './values.ts'

/** What is used of an enforcer, the same in all of 5.x. */
interface Enforcer {
  readonly model?: Model
  readonly enabled?: boolean
}

/** Methods that decide. Those with a matcher have it first. `batchEnforce` and the caches call `enforce`. */
const DECIDE = ['enforce', 'enforceSync', 'enforceEx', 'enforceExSync'] as const
const DECIDE_BY_MATCHER = ['enforceWithMatcher', 'enforceExWithMatcher'] as const

/** Methods of enforcers that read a policy, row by row, and of models that change theirs. */
const LOAD = ['loadPolicy', 'loadFilteredPolicy', 'loadIncrementalFilteredPolicy'] as const
const CHANGE = [
  'addPolicy',
  'addPolicies',
  'updatePolicy',
  'removePolicy',
  'removePolicies',
  'removeFilteredPolicy',
  'clearPolicy',
] as const

export const casbinHook: Hook = {
  library: 'casbin',
  versions: { from: '5.0.0', before: '6.0.0' },
  patch(library, recorder) {
    const policies = createPolicies((fact) => recorder.transition(fact))
    const enforcer = prototypeOf(library.export('Enforcer')) ?? {}
    const method = (name: string): readonly [object, string] => [ownerOf(enforcer, name) ?? enforcer, name]
    // Where there is `enforceSync`, it is called by this.
    const oldest = ownerOf(enforcer, 'enforceSync') === undefined ? ['enforceWithSyncCompile'] : []
    for (const name of [...DECIDE, ...oldest])
      library.observe(method(name), (call) => decided(library, recorder, policies, call, false), {
        optional: name !== 'enforce',
      })
    for (const name of DECIDE_BY_MATCHER)
      library.observe(method(name), (call) => decided(library, recorder, policies, call, true), {
        optional: true,
      })
    observeCache(library, recorder)
    observeChanges(library, recorder, policies, method)
  },
}

function decided(
  library: Library,
  recorder: Recorder,
  policies: Policies,
  { self, args }: Call,
  hasMatcher: boolean,
): (outcome: CallOutcome) => void {
  const { model, enabled } = self as Enforcer
  const matcher = hasMatcher ? args[0] : undefined
  const base = model === undefined ? undefined : attempt(() => policies.digest(model))
  const facts = model !== undefined && !hasMatcher && enabled !== false ? policies.facts(model) : undefined
  return (outcome) => {
    const parts = facts && partsOf(args, outcome)
    recorder.repeatedDecision(
      preparedDecision(recorder, facts, parts, () => ({
        ...requestOf(model, hasMatcher ? args.slice(1) : args),
        ...answerOf(outcome, model),
        ...(enabled === false && outcome.ok && { reason: 'enforcement_disabled' }),
        engine: 'casbin',
        engineVersion: library.version,
        policyDigest: typeof matcher === 'string' && base ? digestOf(`${base}\n${matcher}`) : base,
      })),
    )
  }
}

/** A request of plain texts and its plain answer. */
function partsOf(args: readonly unknown[], outcome: CallOutcome): Parts | undefined {
  if (!outcome.ok || typeof outcome.value !== 'boolean') return undefined
  const parts: Part[] = [outcome.value]
  for (const one of args) {
    if (typeof one !== 'string') return undefined
    parts.push(one)
  }
  return parts
}

/**
 * casbin's own names of the parts of a request, as its request definitions have them by convention. Known hole: of objects
 * that the application changes while casbin decides, the input is what they are then; casbin itself may have read
 * them before or after.
 */
function requestOf(model: Model | undefined, args: readonly unknown[]): Partial<Decision> {
  const type = requestTypeOf(args[0])
  const input = type === undefined ? args : args.slice(1)
  const tokens = model?.model.get('r')?.get(type ?? 'r')?.tokens ?? []
  const part = (name: string): string | undefined => {
    const value = input[tokens.indexOf(`${type ?? 'r'}_${name}`)]
    return typeof value === 'string' ? value : undefined
  }
  return { subject: part('sub'), action: part('act'), resourceId: part('obj'), input }
}

/** The request definition that an `EnforceContext`, if it is one, names. */
function requestTypeOf(first: unknown): string | undefined {
  if (typeof first !== 'object' || first === null) return undefined
  const types = ['rType', 'pType', 'eType', 'mType'].map((name) => member(first, name))
  return types.every((type) => typeof type === 'string') ? types[0] : undefined
}

/** A boolean, or that and the row that decided. */
function answerOf(
  outcome: CallOutcome,
  model: Model | undefined,
): Pick<Decision, 'outcome' | 'ruleIds' | 'errors' | 'reason'> {
  if (!outcome.ok) return failure(outcome.error)
  const [isAllowed, row] = Array.isArray(outcome.value) ? outcome.value : [outcome.value]
  const rule = Array.isArray(row) && row.length > 0 ? placeOf(row, model) : undefined
  return { outcome: isAllowed === true ? 'allow' : 'deny', ruleIds: rule === undefined ? undefined : [rule] }
}

/** Type and place of a row in the policy. The row itself may name people. */
function placeOf(row: unknown[], model: Model | undefined): string | undefined {
  for (const [type, { policy }] of model?.model.get('p') ?? []) {
    const at = policy.indexOf(row as string[])
    if (at >= 0) return `${type}:${at}`
  }
  return undefined
}

/**
 * A `CachedEnforcer` that answers from its cache asks nothing. Under which policy it was decided is not known: casbin
 * does not empty the cache when policy changes.
 */
function observeCache(library: Library, recorder: Recorder): void {
  const cached = prototypeOf(library.export('CachedEnforcer'))
  if (cached === undefined || !Object.hasOwn(cached, 'enforce')) return
  library.observe([cached, 'enforce'], ({ self, args }) => {
    if (!isInCache(self, args)) return undefined
    const { model } = self as Enforcer
    return (outcome) => {
      recorder.repeatedDecision({
        ...requestOf(model, args),
        ...answerOf(outcome, model),
        cached: true,
        engine: 'casbin',
        engineVersion: library.version,
      })
    }
  })
}

function isInCache(self: unknown, args: readonly unknown[]): boolean {
  const { enableCache, m } = self as { enableCache?: unknown; m?: unknown }
  if (enableCache !== true || !args.every((one) => typeof one === 'string')) return false
  return m instanceof Map && m.has(args.join('$$'))
}

function observeChanges(
  library: Library,
  recorder: Recorder,
  policies: Policies,
  method: (name: string) => readonly [object, string],
): void {
  for (const name of LOAD)
    library.observe(
      method(name),
      ({ self }) => {
        const { model } = self as Enforcer
        return model && policies.loading(model, name)
      },
      { optional: name !== 'loadPolicy' },
    )
  const model = prototypeOf(library.export('Model')) ?? {}
  for (const name of CHANGE)
    library.observe(
      [model, name],
      ({ self }) =>
        () =>
          policies.changed(self as Model, name),
      { optional: true },
    )
  for (const name of ['setModel', 'loadModel'])
    library.observe(method(name), ({ self }) => {
      const { model: before } = self as Enforcer
      return () => {
        const { model: after } = self as Enforcer
        if (after !== undefined) policies.replaced(before, after, name)
      }
    })
  library.observe(method('enableEnforce'), ({ self, args: [isOn] }) => {
    const modeOf = (enabled: unknown): string => (enabled === false ? 'not_enforced' : 'enforced')
    const from = modeOf((self as Enforcer).enabled)
    return () => {
      const to = modeOf(isOn)
      if (from !== to)
        recorder.transition({ type: 'mode', from, to, trigger: 'enableEnforce', engine: 'casbin' })
    }
  })
}
