/** Runs the rules over an execution. A pure function: collector and verifier come to the same bytes. */

import type { Finding, Judgement, Result, RuleResult } from './judgement.ts'
import type { Execution } from './model.ts'
import type { Report, Rule, Severity, Subject } from './rule.ts'

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
  const summary = new Summary(execution.evaluatedAt, findings)
  for (const rule of rules) {
    summary.begin(rule)
    rule.evaluate(execution, summary)
    const { result, missing } = summary
    if (result !== undefined) results.push({ rule: rule.id, result, missing })
  }
  return { results, findings, due: summary.due }
}

/** What one rule after the other comes to. */
class Summary implements Report {
  due: bigint | undefined
  result: Result | undefined
  readonly #evaluatedAt: bigint
  readonly #findings: Finding[]
  readonly #missing = new Set<string>()
  #rule: Rule | undefined
  #failed = 0

  constructor(evaluatedAt: bigint, findings: Finding[]) {
    this.#evaluatedAt = evaluatedAt
    this.#findings = findings
  }

  begin(rule: Rule): void {
    this.#rule = rule
    this.result = undefined
    this.#failed = 0
    if (this.#missing.size > 0) this.#missing.clear()
  }

  /** Ascending. */
  get missing(): readonly string[] {
    return this.#missing.size === 0 ? NOTHING_MISSING : [...this.#missing].sort()
  }

  pass(): void {
    this.result ??= 'pass'
  }

  unknown(missing: string, until?: bigint): void {
    if (until !== undefined && until > this.#evaluatedAt && (this.due === undefined || until < this.due))
      this.due = until
    if (this.#missing.size < MAX_MISSING) this.#missing.add(missing)
    if (this.result !== 'fail') this.result = 'unknown'
  }

  fail(subjects: readonly Subject[], detail: string, severity?: Severity): void {
    this.result = 'fail'
    this.#failed++
    if (this.#failed > MAX_FINDINGS) return
    const rule = this.#rule!
    this.#findings.push({
      rule: rule.id,
      severity: severity ?? rule.severity,
      detail: this.#failed === MAX_FINDINGS ? 'and more like the ones before' : detail,
      subjects: subjects.slice(0, MAX_SUBJECTS).map(({ leaf }) => leaf),
    })
  }
}

const NOTHING_MISSING: readonly string[] = []
