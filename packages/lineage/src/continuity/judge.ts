/** Runs the rules over an execution. A pure function: collector and verifier come to the same bytes. */

import type { Finding, Judgement, Result, RuleResult } from './judgement.ts'
import type { Execution } from './model.ts'
import type { Rule } from './rule.ts'

/** Findings of one rule that are kept; that there are more is one more finding. */
const MAX_FINDINGS = 64
/** Records that a finding names at most. */
const MAX_SUBJECTS = 8
/** Different things that a rule may say are missing. */
const MAX_MISSING = 16

export interface Judged extends Judgement {
  /** The first time at which a rule comes to something else though nothing more is sent: nanoseconds since 1970. */
  readonly due: bigint | undefined
}

/** Judges by these rules, which are in the order of their ids. */
export function judge(execution: Execution, rules: readonly Rule[]): Judged {
  const results: RuleResult[] = []
  const findings: Finding[] = []
  let due: bigint | undefined
  for (const rule of rules) {
    let result: Result | undefined
    let failed = 0
    let missing: Set<string> | undefined
    for (const observation of rule.evaluate(execution)) {
      if (observation.result === 'pass') result ??= 'pass'
      else if (observation.result === 'unknown') {
        const { until } = observation
        if (until !== undefined && until > execution.evaluatedAt && (due === undefined || until < due))
          due = until
        missing ??= new Set()
        if (missing.size < MAX_MISSING) missing.add(observation.missing)
        if (result !== 'fail') result = 'unknown'
      } else {
        result = 'fail'
        failed++
        if (failed > MAX_FINDINGS) continue
        findings.push({
          rule: rule.id,
          severity: observation.severity ?? rule.severity,
          detail: failed === MAX_FINDINGS ? 'and more like the ones before' : observation.detail,
          subjects: observation.subjects.slice(0, MAX_SUBJECTS).map(({ leaf }) => leaf),
        })
      }
    }
    if (result !== undefined) results.push({ rule: rule.id, result, missing: [...(missing ?? [])].sort() })
  }
  return { results, findings, due }
}
