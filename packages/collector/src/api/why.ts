/** The five answers about an execution, from what the latest checkpoint covers of it, each record with its proof. */
import { equalBytes, formatHex } from '@rootspan/lineage/bytes'
import { parseContext } from '@rootspan/lineage/continuity/context'
import {
  type Continuity,
  continuityOf,
  NOT_JUDGED,
  parseJudgement,
} from '@rootspan/lineage/continuity/judgement'
import { RULESET_DIGEST } from '@rootspan/lineage/continuity/ruleset'
import { type Answer, type Clause, why } from '@rootspan/lineage/continuity/why'
import { NO_BYTES, parseEntry } from '@rootspan/lineage/record/entry'
import { heldOf } from '@rootspan/lineage/record/erase'
import { TraceHistory } from '@rootspan/lineage/record/history'
import { type AnyPayload, parseAnyPayload } from '@rootspan/lineage/record/opened'
import { readSegment } from '../sequencer.ts'
import type { LogReader } from '../store/log-store.ts'
import type { SegmentRow } from '../store/rows.ts'
import type { Payloads } from './evidence.ts'
import { placesOf, type SubjectSummary } from './findings.ts'

/** An execution with more leaves is not answered for: it would hold up the API. */
export const MAX_WHY_LEAVES = 100_000

interface RecordPlace extends SubjectSummary {
  /** Path of its inclusion proof under the latest checkpoint; absent where it is not of this execution. */
  readonly proof?: string
}

interface WhyAnswers {
  readonly traceId: string
  readonly checkpointSize: number
  readonly continuity: Continuity
  readonly answers: readonly (Omit<Answer, 'clauses'> & {
    readonly clauses: readonly (Omit<Clause, 'records'> & { readonly records: readonly RecordPlace[] })[]
  })[]
}

/** `rows` are segments that the checkpoint of this size covers, the first ones of the execution. */
export async function answerWhy(
  reader: LogReader,
  payloads: Payloads,
  rows: readonly SegmentRow[],
  size: number,
): Promise<WhyAnswers> {
  const history = new TraceHistory()
  /** Of the last segment that was judged, or the last one where none was. */
  let last: AnyPayload | undefined
  let seal: Uint8Array | undefined
  for (const row of rows) {
    const { entries, leaves } = await readSegment(reader, row)
    const payload = parseAnyPayload(new Uint8Array(await payloads.left(row)))
    history.add(row.first, entries.map(parseEntry), leaves, row.closed, () => heldOf({ entries }, payload))
    if (last === undefined || isJudged(payload) || !isJudged(last)) last = payload
    seal = leaves.slice(-32)
  }
  const { tenant, traceId, evaluatedAt, context, ruleset = NO_BYTES } = last!
  const judgement = last!.form === 'whole' ? parseJudgement(last!.judgement) : NOT_JUDGED
  const execution = history
    .builder()
    .execution({ tenant, traceId, evaluatedAt }, parseContext(context ?? NO_BYTES))
  const isRecomputed = ruleset.length === 0 || equalBytes(ruleset, RULESET_DIGEST)
  const answers = why(execution, judgement, { isRecomputed, seal: seal! })
  const named = answers.flatMap(({ clauses }) => clauses.flatMap(({ records }) => records))
  const places = await placesOf(reader, rows, named)
  const id = formatHex(traceId)
  return {
    traceId: id,
    checkpointSize: size,
    continuity: isRecomputed ? continuityOf(judgement) : 'unknown',
    answers: answers.map((answer) => ({
      ...answer,
      clauses: answer.clauses.map((clause) => ({
        ...clause,
        records: clause.records.map((leaf) => withProof(id, places.get(formatHex(leaf)), leaf)),
      })),
    })),
  }
}

function isJudged(payload: AnyPayload): boolean {
  return payload.form === 'opened' || (payload.ruleset ?? NO_BYTES).length > 0
}

function withProof(traceId: string, place: SubjectSummary | undefined, leaf: Uint8Array): RecordPlace {
  if (place === undefined) return { leafHash: formatHex(leaf) }
  return { ...place, proof: `/api/v1/executions/${traceId}/records/${place.leafIndex}/proof` }
}
