/**
 * The board: shared memory through which the threads of one collector tell each other how far they are.
 *
 * Each slot has one writing thread. Reads may be a moment old; no decision about truth rests on them.
 */

import { SEVERITIES, type Severity } from '@rootspan/lineage/continuity/rule'
import { RULES } from '@rootspan/lineage/continuity/ruleset'

/** Counters and gauges, in the order of their slots. */
const SLOTS = [
  // Written by the main thread.
  'journal_durable_position',
  'journal_bytes',
  'journal_appended_bytes',
  'requests_accepted_traces',
  'requests_accepted_metrics',
  'requests_accepted_logs',
  'requests_refused_malformed',
  'requests_refused_too_large',
  'requests_refused_unsupported',
  'requests_refused_busy',
  'requests_refused_unavailable',
  'requests_refused_internal',
  'requests_refused_protocol',
  'requests_refused_timeout',
  'requests_refused_not_found',
  'requests_refused_not_allowed',
  'requests_refused_unauthenticated',
  'requests_aborted',
  'requests_delayed',
  'bytes_received',
  'spans_accepted',
  'spans_quarantined',
  'log_records_accepted',
  'log_records_quarantined',
  'log_records_passed_over',
  'quarantine_records_dropped',
  'quarantine_files_dropped',
  'ack_seconds_sum',
  'cpu_seconds_main',
  // Written by the pipeline thread.
  'followed_position',
  'followed_bytes',
  'needed_position',
  'open_spans',
  'open_traces',
  'commits',
  'committed_segments',
  'reviewed_segments',
  'reviews_pending',
  'committed_spans',
  'committed_leaves',
  'duplicate_spans',
  'judged_unknown',
  'judged_intact',
  'judged_broken',
  'pack_bytes',
  'tree_size',
  'checkpoint_size',
  'checkpoint_time',
  'seal_seconds_sum',
  'follow_seconds',
  'settle_seconds',
  'judge_seconds',
  'cpu_seconds_pipeline',
  // State of the whole: 1 ready, 0 not.
  'pipeline_ready',
  'receivers_ready',
] as const
export type Slot = (typeof SLOTS)[number]

/** Upper bounds of the acknowledgement latency histogram, seconds. */
export const ACK_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5] as const
/** Upper bounds of the settle-to-checkpoint latency histogram, seconds. */
export const SEAL_BOUNDS = [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30] as const

const PLACE: ReadonlyMap<string, number> = new Map(SLOTS.map((name, at) => [name, at]))
const ACK_AT = SLOTS.length
const SEAL_AT = ACK_AT + ACK_BOUNDS.length + 1
const FINDINGS_AT = SEAL_AT + SEAL_BOUNDS.length + 1
const SIZE = FINDINGS_AT + RULES.length * SEVERITIES.length
const RULE_PLACE: ReadonlyMap<string, number> = new Map(RULES.map(({ id }, at) => [id, at]))

export class Board {
  readonly buffer: SharedArrayBuffer
  readonly #values: Float64Array
  readonly #wake: Int32Array

  /** Without a buffer a new board is made; with one, it is the board of another thread. */
  constructor(buffer = new SharedArrayBuffer(8 + SIZE * 8)) {
    this.buffer = buffer
    this.#wake = new Int32Array(buffer, 0, 1)
    this.#values = new Float64Array(buffer, 8)
  }

  get(slot: Slot): number {
    return this.#values[PLACE.get(slot)!]!
  }

  set(slot: Slot, value: number): void {
    this.#values[PLACE.get(slot)!] = value
  }

  add(slot: Slot, more: number): void {
    this.#values[PLACE.get(slot)!]! += more
  }

  observeAck(seconds: number): void {
    this.#observe(ACK_AT, ACK_BOUNDS, seconds)
    this.add('ack_seconds_sum', seconds)
  }

  /** The trace of a segment was due this long before its checkpoint. */
  observeSeal(seconds: number): void {
    this.#observe(SEAL_AT, SEAL_BOUNDS, seconds)
    this.add('seal_seconds_sum', seconds)
  }

  /** Counts by bucket, the last one without an upper bound. */
  ackBuckets(): number[] {
    return [...this.#values.subarray(ACK_AT, SEAL_AT)]
  }

  sealBuckets(): number[] {
    return [...this.#values.subarray(SEAL_AT, FINDINGS_AT)]
  }

  /** A rule that is not built in is not counted. */
  addFinding(rule: string, severity: Severity): void {
    const place = RULE_PLACE.get(rule)
    if (place !== undefined)
      this.#values[FINDINGS_AT + place * SEVERITIES.length + SEVERITIES.indexOf(severity)]! += 1
  }

  /** Findings so far: of each rule under its own severity, and under others where there were any. */
  findings(): { rule: string; severity: Severity; count: number }[] {
    return RULES.flatMap((rule, place) =>
      SEVERITIES.map((severity, at) => ({
        rule: rule.id,
        severity,
        count: this.#values[FINDINGS_AT + place * SEVERITIES.length + at]!,
      })).filter(({ severity, count }) => count > 0 || severity === rule.severity),
    )
  }

  /** Wakes whoever waits for news. */
  notify(): void {
    Atomics.add(this.#wake, 0, 1)
    Atomics.notify(this.#wake, 0)
  }

  /** A mark to wait from: take it, look for work, and then wait. */
  mark(): number {
    return Atomics.load(this.#wake, 0)
  }

  /** Resolves at the next `notify` after `mark`, or after `millis`. */
  async wait(mark: number, millis: number): Promise<void> {
    const result = Atomics.waitAsync(this.#wake, 0, mark, millis)
    if (result.async) await result.value
  }

  #observe(at: number, bounds: readonly number[], seconds: number): void {
    let bucket = 0
    while (bucket < bounds.length && seconds > bounds[bucket]!) bucket++
    this.#values[at + bucket]! += 1
  }
}
