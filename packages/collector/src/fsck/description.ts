/** What a row says of its segment for searches, against its payload. */
import { parseJudgement } from '@rootspan/lineage/continuity/judgement'
import type { SegmentPayload } from '@rootspan/lineage/record/payload'
import { describeJudgement, describeSegment, ServiceNames, timedSpan } from '../describe.ts'
import type { SegmentRow } from '../store/rows.ts'
import type { Findings } from './report.ts'

/** Times, services and name of a whole segment are those of its spans; continuity and rules those of its judgement. */
export function checkDescription(
  row: SegmentRow,
  { spans, judgement }: SegmentPayload,
  where: string,
  findings: Findings,
): void {
  const described = describeSegment(spans.map(timedSpan), new ServiceNames())
  const judged = describeJudgement(parseJudgement(judgement))
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
