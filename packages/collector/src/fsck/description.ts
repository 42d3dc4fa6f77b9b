/** What a row says of its segment for searches, against its payload. */
import { parseJudgement } from '@rootspan/lineage/continuity/judgement'
import { NO_BYTES } from '@rootspan/lineage/record/entry'
import type { SegmentPayload } from '@rootspan/lineage/record/payload'
import { describeJudgement, describeReview, describeSegment, ServiceNames, timedSpan } from '../describe.ts'
import type { SegmentRow } from '../store/rows.ts'
import type { Findings } from './report.ts'

/** Times, services and name of a whole segment are those of its spans; continuity and rules those of its judgement. */
export function checkDescription(
  row: SegmentRow,
  rows: readonly SegmentRow[],
  { spans, judgement, ruleset = NO_BYTES }: SegmentPayload,
  where: string,
  findings: Findings,
): void {
  const earlier = rows.slice(0, row.segment)
  const described =
    spans.length === 0 ? describeReview(earlier) : describeSegment(spans.map(timedSpan), new ServiceNames())
  const judged = describeJudgement(ruleset.length > 0 ? parseJudgement(judgement) : undefined, earlier.at(-1))
  const isSame =
    judged.continuity === row.continuity &&
    judged.rules.join() === row.rules.join() &&
    described.start === row.start &&
    described.end === row.end &&
    described.name === row.name &&
    described.services.length === row.services.length &&
    described.services.every((service, at) => service === row.services[at])
  if (!isSame)
    findings.problem(
      where,
      'its row has other times, services, name or verdict than its payload',
      'The log itself may be whole; restore the data directory from a copy.',
      'index, trace',
    )
}
