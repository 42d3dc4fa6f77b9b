/**
 * Search terms: for each commit, its traces by the time of their start, with their services (docs/formats/store.md).
 *
 * One list for each commit and span of time, and a key without a value for each service in a list. So a commit of a
 * thousand traces adds some dozens of keys; one key for each trace and service were five thousand, and most of what
 * LevelDB sorted and moved.
 */

import { equalBytes } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import { Sink } from '@rootspan/lineage/record/sink'
import { WireReader } from '@rootspan/lineage/wire'
import { latin1Text } from '../text.ts'
import * as keys from './keys.ts'
import { encodeName, type SegmentRow } from './rows.ts'

/** Starts in the same 2^28 nanoseconds, about a quarter of a second, are in one list. */
const SPAN_BITS = 28n

/** The span of time in which a start lies: what lists are ordered by. */
export function spanOf(start: bigint): number {
  return Number(start >> SPAN_BITS)
}

/** Bytes of a service's name that are searched by. */
const MAX_SERVICE = 255

export function serviceTerm(service: string): Uint8Array {
  return encodeName(service).subarray(0, MAX_SERVICE)
}

/** The terms that rows add to the index, list by list. To be used again after {@link TermLists.clear}. */
export class TermLists {
  readonly #lists = new Map<number, TermList>()
  readonly #spare: TermList[] = []
  #last: TermList | undefined

  clear(): void {
    for (const list of this.#lists.values()) {
      list.clear()
      this.#spare.push(list)
    }
    this.#lists.clear()
    this.#last = undefined
  }

  /** Adds what a row adds; `earlier` are the rows of its trace before it. */
  add(row: SegmentRow, earlier: readonly SegmentRow[]): void {
    const { start } = earlier[0] ?? row
    const span = spanOf(start)
    if (this.#last?.span !== span) this.#last = this.#list(span)
    this.#last.add(row, earlier, start)
  }

  /** Lists that hold something, in the order of their first trace. Their sinks are used again. */
  *[Symbol.iterator](): Generator<TermList, void, undefined> {
    for (const list of this.#lists.values()) if (!list.isEmpty) yield list
  }

  #list(span: number): TermList {
    let list = this.#lists.get(span)
    if (list === undefined) {
      list = this.#spare.pop() ?? new TermList()
      list.span = span
      this.#lists.set(span, list)
    }
    return list
  }
}

class TermList {
  span = 0
  readonly #numbers = new Map<string, number>()
  readonly #names: Uint8Array[] = []
  readonly #traces = new Sink(256)
  readonly #one = new Sink(128)
  readonly #services = new Sink(64)

  get isEmpty(): boolean {
    return this.#traces.at === 0
  }

  /** Services in the list, each once. */
  get services(): readonly Uint8Array[] {
    return this.#names
  }

  clear(): void {
    this.#numbers.clear()
    this.#names.length = 0
    this.#traces.at = 0
  }

  add(row: SegmentRow, earlier: readonly SegmentRow[], start: bigint): void {
    const services = this.#services
    services.at = 0
    for (const service of row.services)
      if (earlier.length === 0 || !earlier.some(({ services }) => hasTerm(services, service)))
        services.varint(this.#number(service))
    if (earlier.length > 0 && services.at === 0) return
    const one = this.#one
    one.at = 0
    if (row.tenant !== '') one.field(0x0a, encodeName(row.tenant))
    one.field(0x12, row.traceId)
    one.byte(0x18)
    one.varint(Number(BigInt.asUintN(Number(SPAN_BITS), start)))
    if (earlier.length === 0) {
      one.byte(0x20)
      one.byte(1)
    }
    if (services.at > 0) one.field(0x2a, services.view())
    this.#traces.field(0x12, one.view())
  }

  /** Writes the value of the list. */
  write(sink: Sink): void {
    for (const name of this.#names) sink.field(0x0a, name)
    sink.putRange(this.#traces.bytes, 0, this.#traces.at)
  }

  #number(service: string): number {
    // A long name stands for all that begin with the same bytes.
    const name = serviceTerm(service)
    const key = name.length < MAX_SERVICE ? service : latin1Text(name)
    let number = this.#numbers.get(key)
    if (number === undefined) {
      number = this.#names.push(name) - 1
      this.#numbers.set(key, number)
    }
    return number
  }
}

/** Whether one of these is the service, or has the same term. */
function hasTerm(services: readonly string[], service: string): boolean {
  if (services.includes(service)) return true
  const term = serviceTerm(service)
  return term.length === MAX_SERVICE && services.some((one) => equalBytes(serviceTerm(one), term))
}

/** A trace in a list: its start, and what identifies it in the store. */
export interface Term {
  readonly start: bigint
  readonly id: Uint8Array
}

/**
 * Traces of a list: those that have their first segment in its commit, or those that have `service` by it. Throws a
 * MalformedError.
 */
export function* readTerms(
  span: number,
  value: Uint8Array,
  service: Uint8Array | undefined,
): Generator<Term, void, undefined> {
  const base = BigInt(span) << SPAN_BITS
  const list = new WireReader(value)
  let services = 0
  let wanted = -1
  while (list.next()) {
    if (list.field === 1) {
      if (service !== undefined && equalBytes(list.value(), service)) wanted = services
      services++
      continue
    }
    if (list.field !== 2) throw new MalformedError('a list of search terms has an unknown field')
    let tenant: Uint8Array = NOTHING
    let traceId: Uint8Array = NOTHING
    let start = 0
    let found = false
    const trace = new WireReader(value, list.start, list.end)
    while (trace.next()) {
      if (trace.field === 1) tenant = trace.value()
      else if (trace.field === 2) traceId = trace.value()
      else if (trace.field === 3) start = trace.safe('start')
      else if (trace.field === 4) found ||= service === undefined
      else if (trace.field === 5) found ||= wanted >= 0 && hasNumber(value, trace.start, trace.end, wanted)
      else throw new MalformedError('a search term has an unknown field')
    }
    if (found) yield { start: base + BigInt(start), id: keys.traceId(tenant, traceId) }
  }
}

const NOTHING = new Uint8Array(0)

/** Whether a run of varints holds a number. */
function hasNumber(bytes: Uint8Array, start: number, end: number, wanted: number): boolean {
  let value = 0
  let scale = 1
  for (let at = start; at < end; at++) {
    value += (bytes[at]! & 0x7f) * scale
    scale *= 0x80
    if (bytes[at]! >= 0x80) continue
    if (value === wanted) return true
    value = 0
    scale = 1
  }
  return false
}
