/**
 * What the main thread hands to the pipeline with every durable request: the scan's rows, the trace seeds and the
 * evidence commitments, computed while the request is on its way to the disk, and the request itself.
 *
 * None of it is the truth: the pipeline computes the same from the journal's files after a restart. It takes half
 * of the hashing off the thread that is busiest, and spares it reading what was just written.
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
  /** Trace seeds, 32 bytes each, and for each span the number of its own. */
  readonly seeds: Uint8Array
  readonly seedOf: Uint32Array
}

/**
 * Computes it for one request; copies the rows of `table`. `allocate` is asked twice for at least so many bytes: for
 * the rows, which are read once, and for the rest, which lives as long as a span of the request is open.
 */
export function workAhead(
  request: { readonly seed: Uint8Array; readonly receipt: Uint8Array; readonly body: Uint8Array },
  tenant: string,
  table: SpanTable,
  committer: Committer,
  allocate: (bytes: number) => ArrayBuffer = (bytes) => new ArrayBuffer(bytes),
): Ahead {
  const { seed, receipt } = request
  const { count } = table
  const rows = count * WORDS_PER_SPAN
  const words = new Uint32Array(allocate(rows * 4), 0, rows)
  words.set(table.words.subarray(0, rows))
  // A plain array makes views for a fraction of what a Buffer takes.
  const body = new Uint8Array(request.body.buffer, request.body.byteOffset, request.body.byteLength)
  const { ids, numbers } = numberTraces(body, words, count)
  const kept = allocate(count * 36 + ids.length * 32)
  const seedOf = new Uint32Array(kept, 0, count)
  seedOf.set(numbers)
  const evidence = Buffer.from(kept, count * 4, count * 32)
  const seeds = new Uint8Array(kept, count * 36, ids.length * 32)
  committer.traceSeeds(seed, utf8(tenant), body, ids, seeds)
  const salts = committer.evidenceSalts(seeds, seedOf)
  let scope = -1
  let resource = -1
  let context: Uint8Array | undefined
  for (let index = 0, row = 0; index < count; index++, row += WORDS_PER_SPAN) {
    if (words[row + FAULT] !== 0) continue
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
    const [start, end] = [words[row + SPAN_START]!, words[row + SPAN_END]!]
    committer.saltedEvidence(salts, index * 16, context, body, start, end, evidence, index * 32)
  }
  return { table: { words, count }, evidence, seeds, seedOf }
}

/** Where the ids of the distinct traces are, and for each span the number of its trace. Bad spans have 0. */
function numberTraces(
  body: Uint8Array,
  words: Uint32Array,
  count: number,
): { ids: number[]; numbers: number[] } {
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  const known = new Map<string, number>()
  const ids: number[] = []
  const numbers: number[] = []
  let last = -1
  let number = 0
  for (let index = 0, row = 0; index < count; index++, row += WORDS_PER_SPAN) {
    if (words[row + FAULT] !== 0) {
      numbers.push(0)
      continue
    }
    const at = words[row + TRACE_ID]!
    if (last === -1 || !isSameTrace(body, last, at)) {
      last = at
      const id = text.toString('latin1', at, at + 16)
      number = known.get(id) ?? ids.push(at) - 1
      known.set(id, number)
    }
    numbers.push(number)
  }
  return { ids, numbers }
}

function isSameTrace(body: Uint8Array, a: number, b: number): boolean {
  for (let i = 0; i < 16; i++) if (body[a + i] !== body[b + i]) return false
  return true
}
