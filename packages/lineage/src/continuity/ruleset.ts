/** The rules that are built in, and their digest: what every seal names. */
import { sha256 } from '#crypto'
import { utf8 } from '../bytes.ts'
import { SKEW } from './model.ts'
import type { Rule } from './rule.ts'
import { ANCESTRY } from './rules/ancestry.ts'
import { AUTHORIZATION } from './rules/authorization.ts'
import { AUTHORIZATION_USE } from './rules/authorization-use.ts'
import { COVERAGE } from './rules/coverage.ts'
import { DECISION } from './rules/decision.ts'
import { DECISION_BINDING } from './rules/decision-binding.ts'
import { DELEGATION } from './rules/delegation.ts'
import { EMITTER } from './rules/emitter.ts'
import { LATE } from './rules/late.ts'
import { POLICY } from './rules/policy.ts'
import { REUSE } from './rules/reuse.ts'
import { RUNTIME } from './rules/runtime.ts'
import { TIME } from './rules/time.ts'

/** By id ascending. */
export const RULES: readonly Rule[] = [
  ...ANCESTRY,
  ...AUTHORIZATION,
  ...AUTHORIZATION_USE,
  ...COVERAGE,
  ...DECISION,
  ...DECISION_BINDING,
  ...DELEGATION,
  ...EMITTER,
  ...LATE,
  ...POLICY,
  ...REUSE,
  ...RUNTIME,
  ...TIME,
].sort((a, b) => (a.id < b.id ? -1 : 1))

/** One line that names the ruleset, and one for each rule: its digest changes whenever a judgement may. */
export const RULESET_TEXT: string = [
  `rootspan/ruleset/v0 skew=${SKEW}`,
  ...RULES.map(({ id, version, severity, scope }) => `${id} ${version} ${severity} ${scope}`),
  '',
].join('\n')

export const RULESET_DIGEST: Uint8Array = sha256(utf8(RULESET_TEXT))

export function ruleOf(id: string): Rule | undefined {
  return RULES.find((rule) => rule.id === id)
}
