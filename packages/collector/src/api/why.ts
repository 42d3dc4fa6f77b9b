/** The five answers about an execution, from what the latest checkpoint covers of it, each record with its proof. */
import { equalBytes, formatHex, parseHex } from '@rootspan/lineage/bytes'
import { parseContext } from '@rootspan/lineage/continuity/context'
import {
  type Continuity,
  continuityOf,
  type Judgement,
  NOT_JUDGED,
  parseJudgement,
} from '@rootspan/lineage/continuity/judgement'
import type { Execution } from '@rootspan/lineage/continuity/model'
import { RULESET_DIGEST } from '@rootspan/lineage/continuity/ruleset'
import { type Tier, type Tiers, tiersOf } from '@rootspan/lineage/continuity/tier'
import { type Answer, type Clause, why } from '@rootspan/lineage/continuity/why'
import { namingStatements } from '@rootspan/lineage/evidence/witness'
import { NO_BYTES, parseEntry } from '@rootspan/lineage/record/entry'
import { heldOf } from '@rootspan/lineage/record/erase'
import { TraceHistory } from '@rootspan/lineage/record/history'
import { type AnyPayload, parseAnyPayload } from '@rootspan/lineage/record/opened'
import { readSegment } from '../sequencer.ts'
import { traceId } from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import { encodeName, type SegmentRow } from '../store/rows.ts'
import { isTooLarge, type Payloads, segmentsUnder } from './evidence.ts'
import { placesOf, type SubjectSummary } from './findings.ts'

/** An execution with more leaves is not answered for: it would hold up the API. */
export const MAX_WHY_LEAVES = 100_000
/** Nor are the records of one with more than this shown with their tiers. */
const MAX_TIER_LEAVES = 10_000

interface RecordPlace extends SubjectSummary {
  /** Path of its inclusion proof under the latest checkpoint; absent where it cannot be told any more. */
  readonly proof?: string
}

interface WhyAnswers {
  readonly traceId: string
  readonly checkpointSize: number
  readonly continuity: Continuity
  readonly answers: readonly (Omit<Answer, 'clauses'> & {
    readonly clauses: readonly (Pick<Clause, 'text' | 'basis'> & {
      readonly tier?: Tier
      readonly standing?: string
      readonly records: readonly RecordPlace[]
    })[]
  })[]
}

/** An execution as its rows hold it, and how it was judged with the last of them. */
interface Loaded {
  readonly execution: Execution
  readonly judgement: Judgement
  /** The rules that judged it are those that are known here. */
  readonly isRecomputed: boolean
  /** Leaf hash of the seal that holds that judgement. */
  readonly seal: Uint8Array
  /** Number of the first segment that was sealed after it, without one. */
  readonly pendingFrom: number | undefined
}

/** Decodes all of it: callers bound its size. `rows` are the first segments of the execution. */
async function loadExecution(
  reader: LogReader,
  payloads: Payloads,
  rows: readonly SegmentRow[],
): Promise<Loaded> {
  const history = new TraceHistory()
  /** Of the last segment that was judged, or the last one where none was. */
  let last: AnyPayload | undefined
  let seal: Uint8Array | undefined
  for (const row of rows) {
    const { entries, leaves } = await readSegment(reader, row)
    const payload = parseAnyPayload(new Uint8Array(await payloads.left(row)))
    history.add(row.first, entries.map(parseEntry), leaves, row.closed, () => heldOf({ entries }, payload))
    if (last !== undefined && isJudged(last) && !isJudged(payload)) continue
    last = payload
    seal = leaves.slice(-32)
  }
  const { tenant, traceId, evaluatedAt, context, ruleset = NO_BYTES } = last!
  const judgement = last!.form === 'whole' ? parseJudgement(last!.judgement) : NOT_JUDGED
  const execution = history
    .builder()
    .execution({ tenant, traceId, evaluatedAt }, parseContext(context ?? NO_BYTES))
  const isRecomputed = ruleset.length === 0 || equalBytes(ruleset, RULESET_DIGEST)
  const pendingFrom = last!.segment + 1 < rows.length ? last!.segment + 1 : undefined
  return { execution, judgement, isRecomputed, seal: seal!, pendingFrom }
}

/** The evidence tiers of an execution's records; undefined where it has more leaves than are looked at for a list. */
export async function findTiers(
  reader: LogReader,
  payloads: Payloads,
  rows: readonly SegmentRow[],
): Promise<Tiers | undefined> {
  const leaves = rows.reduce((sum, { count }) => sum + count, 0)
  if (leaves > MAX_TIER_LEAVES || isTooLarge(rows)) return undefined
  return tiersOf((await loadExecution(reader, payloads, rows)).execution)
}

/** `rows` are segments that the checkpoint of this size covers, the first ones of the execution. */
export async function answerWhy(
  reader: LogReader,
  payloads: Payloads,
  rows: readonly SegmentRow[],
  size: number,
): Promise<WhyAnswers> {
  const { execution, judgement, ...told } = await loadExecution(reader, payloads, rows)
  const answers = why(execution, judgement, told)
  const named = answers.flatMap(({ clauses }) => clauses.flatMap(({ records }) => records))
  const places = await placesOf(reader, rows, named)
  const id = formatHex(execution.traceId)
  const missing = named.filter((leaf) => !places.has(formatHex(leaf)))
  const others = missing.length === 0 ? new Map() : await placesElsewhere(reader, execution, size, missing)
  return {
    traceId: id,
    checkpointSize: size,
    continuity: continuityTold(judgement, told),
    answers: answers.map((answer) => ({
      ...answer,
      clauses: answer.clauses.map(({ text, basis, standing, records }) => ({
        text,
        basis,
        ...(standing !== undefined && { tier: standing.tier, standing: standing.text }),
        records: records.map(
          (leaf) => others.get(formatHex(leaf)) ?? withProof(id, places.get(formatHex(leaf)), leaf),
        ),
      })),
    })),
  }
}

/** Records of other executions that the context names, under the checkpoint of this size; by leaf hash in hex. */
async function placesElsewhere(
  reader: LogReader,
  { tenant, context }: Execution,
  size: number,
  missing: readonly Uint8Array[],
): Promise<Map<string, RecordPlace>> {
  const wanted = new Set(missing.map(formatHex))
  const byTrace = Map.groupBy(
    [...namingStatements(context)]
      .map(({ record }) => record)
      .filter(({ leaf }) => wanted.has(formatHex(leaf))),
    ({ traceId }) => formatHex(traceId),
  )
  const found = new Map<string, RecordPlace>()
  for (const [trace, named] of byTrace) {
    const [all = []] = await reader.traces([traceId(encodeName(tenant), parseHex(trace))])
    const rows = segmentsUnder(all, size)
    if (rows.reduce((sum, { count }) => sum + count, 0) > MAX_WHY_LEAVES) continue
    const places = await placesOf(
      reader,
      rows,
      named.map(({ leaf }) => leaf),
    )
    for (const [leaf, place] of places) found.set(leaf, withProof(trace, place, parseHex(leaf)))
  }
  return found
}

function isJudged(payload: AnyPayload): boolean {
  return payload.form === 'whole' && (payload.ruleset ?? NO_BYTES).length > 0
}

/** That nothing was found says nothing of what is not judged yet. */
function continuityTold(
  judgement: Judgement,
  { isRecomputed, pendingFrom }: Pick<Loaded, 'isRecomputed' | 'pendingFrom'>,
): Continuity {
  const continuity = continuityOf(judgement)
  if (!isRecomputed) return 'unknown'
  return pendingFrom === undefined || continuity === 'broken' ? continuity : 'unknown'
}

function withProof(traceId: string, place: SubjectSummary | undefined, leaf: Uint8Array): RecordPlace {
  if (place === undefined) return { leafHash: formatHex(leaf) }
  return { ...place, proof: `/api/v1/executions/${traceId}/records/${place.leafIndex}/proof` }
}
