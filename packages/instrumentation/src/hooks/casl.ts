/**
 * CASL: `can` and `cannot` of an ability, and `ForbiddenError`, all of which ask `relevantRuleFor`.
 *
 * Checks come by the thousand, so that those which are alike on one span share an event. The principal is not known to
 * CASL, and the object that is asked about is not looked into: it is the application's own.
 */
import { canonicalJson } from '../canonical.ts'
import type { Decision } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import { digestOf } from '../secrets.ts'
import type { Hook, Library } from './hook.ts'
import type { CallOutcome } from './observe.ts'
import { ownerOf, prototypeOf } from './owner.ts'
import { attempt, failure } from './values.ts'

/** What is used of an ability: the same in 6 and 7. */
interface Ability {
  readonly rules: readonly unknown[]
  detectSubjectType(subject: unknown): unknown
}

/** What is used of a rule that was found. `priority` counts from the last rule. */
interface Rule {
  readonly inverted: boolean
  readonly reason?: unknown
  readonly priority: number
}

/** Rules of one ability beyond which no digest is made. */
const MAX_RULES = 10_000

export const caslHook: Hook = {
  library: '@casl/ability',
  versions: { from: '6.0.0', before: '8.0.0' },
  patch(library, recorder) {
    const prototype = prototypeOf(library.export('Ability'))
    const digestOfRules = createDigest()
    observeChecks(library, recorder, digestOfRules, ownerOf(prototype, 'relevantRuleFor') ?? {})
    library.observe([ownerOf(prototype, 'update') ?? {}, 'update'], ({ self }) => {
      const from = digestOfRules((self as Ability).rules)
      return (outcome) => {
        if (!outcome.ok) return
        const to = digestOfRules((self as Ability).rules)
        if (to === from && to !== undefined) return
        recorder.transition({
          type: 'policy',
          from,
          to: to ?? 'unknown',
          trigger: 'update',
          engine: 'casl',
          policyDigest: to,
        })
      }
    })
  },
}

function observeChecks(
  library: Library,
  recorder: Recorder,
  digestOfRules: (rules: readonly unknown[]) => string | undefined,
  owner: object,
): void {
  const { version: engineVersion } = library
  library.observe([owner, 'relevantRuleFor'], ({ self, args: [action, subject] }) => {
    return (outcome) => {
      const { rules } = self as Ability
      recorder.repeatedDecision({
        ...answerOf(outcome, rules),
        action: typeof action === 'string' ? action : undefined,
        resourceType: attempt(() => typeOf(self as Ability, subject)),
        engine: 'casl',
        engineVersion,
        policyDigest: digestOfRules(rules),
      })
    }
  })
}

function answerOf(outcome: CallOutcome, rules: readonly unknown[]): Decision {
  if (!outcome.ok) return failure(outcome.error)
  const rule = outcome.value as Rule | null
  return {
    outcome: rule === null || rule.inverted ? 'deny' : 'allow',
    reason: reasonOf(rule),
    ruleIds: rule === null ? undefined : [`rule:${rules.length - 1 - rule.priority}`],
  }
}

/** The rule's own reason; without one, whether a rule forbade it or none was found. */
function reasonOf(rule: Rule | null): string | undefined {
  if (rule === null) return 'no_rule'
  if (typeof rule.reason === 'string' && rule.reason !== '') return rule.reason
  return rule.inverted ? 'inverted' : undefined
}

/** As CASL itself sees it: a name, or a class. */
function typeOf(ability: Ability, subject: unknown): string | undefined {
  return nameOf(typeof subject === 'string' ? subject : ability.detectSubjectType(subject))
}

/** CASL's `getSubjectTypeName`. */
function nameOf(type: unknown): string | undefined {
  if (typeof type !== 'function') return typeof type === 'string' ? type : undefined
  const { modelName, name } = type as { modelName?: unknown; name: string }
  return typeof modelName === 'string' ? modelName : name
}

/**
 * Digests of rules, kept by the array that an ability holds. CASL replaces it when rules change; known hole: rules that
 * the application changes in place keep the digest that they had, as CASL keeps its index of them.
 */
function createDigest(): (rules: readonly unknown[]) => string | undefined {
  const known = new WeakMap<readonly unknown[], { readonly digest: string | undefined }>()
  return (rules) => {
    let found = known.get(rules)
    if (found === undefined) {
      const text = rules.length > MAX_RULES ? undefined : canonicalJson(rules.map(plainRule))
      found = { digest: text === undefined ? undefined : digestOf(text) }
      known.set(rules, found)
    }
    return found.digest
  }
}

/** A rule with names in the place of classes. */
function plainRule(rule: unknown): unknown {
  const { subject } = rule as { subject?: unknown }
  if (typeof subject === 'string') return rule
  const plain = Array.isArray(subject) ? subject.map(nameOf) : nameOf(subject)
  return { ...(rule as object), subject: plain }
}
