/**
 * Work done ahead: what the pipeline would compute of a request, computed by the main thread while the
 * request is on its way to the disk.
 *
 * It is a cache and nothing more. The pipeline computes the same by itself where it is missing, after a
 * restart or where it follows faster than this arrives. It takes about a third of the pipeline's hashing off
 * the thread that is busiest.
 */
import { utf8 } from '@rootspan/lineage/bytes'
import {
  FAULT,
  RESOURCE_END,
  RESOURCE_START,
  SCOPE_END,
  SCOPE_START,
  SPAN_END,
  SPAN_START,
  type SpanTable,
  TRACE_ID,
  WORDS_PER_SPAN,
} from '@rootspan/lineage/otlp/scan'
import type { Committer } from '@rootspan/lineage/record/commitment'

export interface Ahead {
  /** The scan's rows. */
  readonly table: SpanTable
  /** Evidence commitments, 32 bytes a span; those of bad spans are not filled in. */
  readonly evidence: Uint8Array
}

/** Computes the evidence commitments of a request's spans; copies the rows of `table`. */
export function workAhead(
  request: { readonly seed: Uint8Array; readonly receipt: Uint8Array; readonly body: Uint8Array },
  tenant: string,
  table: SpanTable,
  committer: Committer,
): Ahead {
  const { seed, receipt, body } = request
  const { count } = table
  const words = table.words.slice(0, count * WORDS_PER_SPAN)
  const evidence = new Uint8Array(new ArrayBuffer(count * 32))
  const target = Buffer.from(evidence.buffer)
  const tenantBytes = utf8(tenant)
  const seeds = new Map<string, Uint8Array>()
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  let scope = -1
  let resource = -1
  let context: Uint8Array | undefined
  for (let index = 0, row = 0; index < count; index++, row += WORDS_PER_SPAN) {
    if (words[row + FAULT] !== 0) continue
    const at = words[row + TRACE_ID]!
    const trace = text.toString('latin1', at, at + 16)
    let traceSeed = seeds.get(trace)
    if (traceSeed === undefined) {
      traceSeed = committer.traceSeed(seed, tenantBytes, body.subarray(at, at + 16))
      seeds.set(trace, traceSeed)
    }
    if (
      context === undefined ||
      words[row + SCOPE_START] !== scope ||
      words[row + RESOURCE_START] !== resource
    ) {
      scope = words[row + SCOPE_START]!
      resource = words[row + RESOURCE_START]!
      context = committer.context(
        receipt,
        body.subarray(resource, words[row + RESOURCE_END]),
        body.subarray(scope, words[row + SCOPE_END]),
      )
    }
    const span = body.subarray(words[row + SPAN_START], words[row + SPAN_END])
    committer.evidence(traceSeed, index, context, span, target, index * 32)
  }
  return { table: { words, count }, evidence }
}
