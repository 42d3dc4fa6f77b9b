/**
 * Values that the SDK cut to its limit of length, which it says nowhere: those that are as long as the limit. One that was
 * exactly as long by itself counts, too. Without a limit, as is the default, nothing is looked at.
 */
import type { Attributes } from '@opentelemetry/api'
import type { ReadableSpan } from './delivery/span.ts'
import { NAMESPACE } from './facts.ts'

/** Where all SDKs keep the limits of a span. */
interface Limited {
  readonly _spanLimits?: { readonly attributeValueLengthLimit?: unknown }
}

/** How many values of a span, its events and its links were cut. Ours are not: they are written past the limits. */
export function cutValues(span: ReadableSpan): number {
  const limit = (span as Limited)._spanLimits?.attributeValueLengthLimit
  if (typeof limit !== 'number' || !Number.isFinite(limit) || limit <= 0) return 0
  let count = cutIn(span.attributes, limit)
  for (const { attributes } of [...span.events, ...span.links]) count += cutIn(attributes, limit)
  return count
}

function cutIn(attributes: Attributes | undefined, limit: number): number {
  let count = 0
  for (const name in attributes) {
    if (name.startsWith(NAMESPACE)) continue
    const value = attributes[name]
    for (const one of Array.isArray(value) ? value : [value])
      if (typeof one === 'string' && one.length === limit) count++
  }
  return count
}
