/** Runs the rules over an execution. A pure function: collector and verifier come to the same bytes. */

import {
  encodeResults,
  type Finding,
  type Judgement,
  MAX_MISSING,
  RESULTS,
  type Result,
  type RuleResult,
} from './judgement.ts'
import type { Execution } from './model.ts'
import type { Report, Rule, Severity, Subject } from './rule.ts'

/** Findings of one rule that are kept; that there are more is one more finding. */
const MAX_FINDINGS = 64
/** Records that a finding names at most. */
const MAX_SUBJECTS = 8

export interface Judged extends Judgement {
  /** The first time at which a rule comes to something else though nothing more is sent: nanoseconds since 1970. */
  readonly due: bigint | undefined
}

/** Judges by these rules, which are in the order of their ids. */
export function judge(execution: Execution, rules: readonly Rule[]): Judged {
  const findings: Finding[] = []
  const summary = new Summary(execution.evaluatedAt, findings)
  const codes: number[] = new Array(rules.length).fill(0)
  const missing: (readonly string[])[] = []
  for (let at = 0; at < rules.length; at++) {
    const rule = rules[at]!
    summary.begin(rule)
    rule.evaluate(execution, summary)
    codes[at] = summary.code
    if (summary.isMissing) missing[at] = summary.missing
  }
  const { due } = summary
  if (missing.length > 0) return { results: resultsOf(rules, codes, missing), findings, due }
  return { ...usualResults(rules, codes), findings, due }
}

function resultsOf(
  rules: readonly Rule[],
  codes: readonly number[],
  missing: readonly (readonly string[])[] = [],
): readonly RuleResult[] {
  return rules.flatMap(({ id }, at) => {
    const result = RESULTS[codes[at]! - 1]
    return result === undefined ? [] : [{ rule: id, result, missing: missing[at] ?? [] }]
  })
}

type Usual = Required<Pick<Judgement, 'results' | 'told'>>

/** Of each list of rules, results by what each rule came to: most executions come to the same. */
const usual = new WeakMap<readonly Rule[], Map<string, Usual>>()
const MAX_USUAL = 256

/** What senders may have a word in, what is missing, is not remembered. Not to be changed. */
function usualResults(rules: readonly Rule[], codes: readonly number[]): Usual {
  let known = usual.get(rules)
  if (known === undefined) {
    known = new Map()
    usual.set(rules, known)
  }
  const key = String.fromCharCode(...codes)
  let told = known.get(key)
  if (told === undefined) {
    const results = resultsOf(rules, codes)
    told = { results, told: encodeResults(results) }
    if (known.size >= MAX_USUAL) known.clear()
    known.set(key, told)
  }
  return told
}

/** What one rule after the other comes to. */
class Summary implements Report {
  due: bigint | undefined
  /** Place of the rule's result in {@link RESULTS}, from 1 on; 0: it saw nothing. */
  code = 0
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
    this.code = 0
    this.#failed = 0
    if (this.#missing.size > 0) this.#missing.clear()
  }

  get isMissing(): boolean {
    return this.#missing.size > 0
  }

  /** Ascending. */
  get missing(): readonly string[] {
    return [...this.#missing].sort()
  }

  pass(): void {
    if (this.code === 0) this.code = PASS
  }

  unknown(missing: string, until?: bigint): void {
    if (until !== undefined && until > this.#evaluatedAt && (this.due === undefined || until < this.due))
      this.due = until
    if (this.#missing.size < MAX_MISSING) this.#missing.add(missing)
    if (this.code !== FAIL) this.code = UNKNOWN
  }

  fail(subjects: readonly Subject[], detail: string, severity?: Severity): void {
    this.code = FAIL
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

const codeOf = (result: Result): number => RESULTS.indexOf(result) + 1
const PASS = codeOf('pass')
const FAIL = codeOf('fail')
const UNKNOWN = codeOf('unknown')
