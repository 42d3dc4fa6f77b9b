/**
 * What a continuity rule is: a pure, three-valued function over an assembled execution, with what people need to know
 * about it. The reference pages and `rootspan rules` are made from these descriptions.
 */
import type { Execution } from './model.ts'

export const SEVERITIES = ['critical', 'high', 'medium', 'low'] as const
export type Severity = (typeof SEVERITIES)[number]

/** Where a rule says what it saw, as often as it likes. */
export interface Report {
  /** Something was looked at and is as it must be. */
  pass(): void
  /**
   * Something is as it must not be. `subjects` are the records that it is about, the offending one first; at most 8 are
   * kept. At least one is of this execution; those of other executions come from the context. `detail` is one sentence
   * that holds no value of the application beyond ids, names of services and times. `severity` is given where it differs
   * from the rule's own.
   */
  fail(subjects: readonly Subject[], detail: string, severity?: Severity): void
  /**
   * Something could not be judged. `missing` says in a few words what would have to be known; equal ones are told once.
   * `until` is when the rule comes to something else though nothing more is sent: nanoseconds since 1970.
   */
  unknown(missing: string, until?: bigint): void
}

/** Whatever has a record: a fact, a span, a record of another execution that the context names. */
export interface Subject {
  /** Leaf hash of its record, 32 bytes. */
  readonly leaf: Uint8Array
}

export interface Rule {
  /** `GC-A01`. The letter is the group's. */
  readonly id: string
  /** Goes up when the same input may give another result. Part of the ruleset's digest, as are id and severity. */
  readonly version: number
  /** `action without authorization` */
  readonly title: string
  readonly severity: Severity
  /** Local: all that it looks at is in the execution. Contextual: it depends on what is in the {@link Execution.context}. */
  readonly scope: 'local' | 'contextual'
  /** One sentence: what it looks at and when it fails. */
  readonly looksAt: string
  /** When it keeps silent or says unknown, each in one sentence. */
  readonly guards: readonly string[]
  /** What to do about a finding, one sentence for whoever runs the service. */
  readonly remedy: string
  /**
   * Looks at the execution and reports what it saw. Nothing at all means that there was nothing to look at. At most linear
   * in the execution, up to a sort.
   */
  evaluate(execution: Execution, report: Report): void
}

/** Of what was worked out, in {@link Execution.derived}. */
let places = 0

/**
 * What several rules need of an execution: worked out when the first one asks, and kept with it. It must not depend on the
 * context: a copy of the execution may have another one, and nothing else that is another.
 */
export function oncePerExecution<T>(make: (execution: Execution) => T): (execution: Execution) => T {
  const place = places++
  return (execution) => {
    const { derived } = execution
    let found = derived[place] as T | undefined
    if (found === undefined) {
      found = make(execution)
      derived[place] = found
    }
    return found
  }
}
