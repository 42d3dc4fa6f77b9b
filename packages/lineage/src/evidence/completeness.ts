/** What can be said of spans that are not in a bundle. */

import { formatHex } from '../bytes.ts'
import type { Finding } from '../continuity/judgement.ts'
import type { KeyValue } from '../otlp/decode.ts'
import { isSpanBorn, Parent } from '../record/entry.ts'
import { idKey } from '../record/order.ts'
import type { ExecutionRecord } from './execution.ts'

export interface Completeness {
  readonly state: 'complete' | 'gaps' | 'not provable'
  readonly detail: readonly string[]
}

/** The rule that finds what a process has numbered and did not come. */
const LOST = 'GC-C01'

/** `findings` are those of a judgement that was made again. */
export function completenessOf(
  records: readonly ExecutionRecord[],
  findings: readonly Finding[],
): Completeness {
  const present = new Set(
    records.filter((one) => isSpanBorn(one.entry)).map((one) => idKey(one.entry.spanId)),
  )
  const missing = new Set<string>()
  for (const { entry } of records)
    if (entry.parent === Parent.awaiting && !present.has(idKey(entry.parentSpanId)))
      missing.add(formatHex(entry.parentSpanId))
  const gaps = [
    ...[...missing].sort().map((id) => `parent span ${id} never arrived`),
    ...findings.filter(({ rule }) => rule === LOST).map(({ detail }) => detail),
  ]
  if (gaps.length > 0) return { state: 'gaps', detail: gaps }
  return { state: 'not provable', detail: [ofNumbers(records)] }
}

function ofNumbers(records: readonly ExecutionRecord[]): string {
  const emitters = new Set<string>()
  let without = 0
  for (const { span } of records) {
    if (span === undefined) continue
    const emitter = textOf(span.attributes, 'governance.emitter.id')
    if (emitter === undefined) without++
    else emitters.add(emitter)
  }
  if (emitters.size === 0) return 'no emitter counters: what was never sent cannot be told'
  const who = emitters.size === 1 ? '1 process numbers its' : `${emitters.size} processes number their`
  const others =
    without === 0
      ? ''
      : `; ${without} ${without === 1 ? 'span' : 'spans'} here ${without === 1 ? 'has' : 'have'} no number`
  return `${who} governed spans, and no number between those here is known to be missing: what came before and after them cannot be told${others}`
}

function textOf(attributes: readonly KeyValue[], name: string): string | undefined {
  const value = attributes.find(({ key }) => key === name)?.value
  return value?.type === 'string' ? value.value : undefined
}
