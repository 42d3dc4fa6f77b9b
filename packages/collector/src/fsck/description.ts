/** What a row says of its segment for searches, against its payload. */
import type { SpanInput } from '@rootspan/lineage/record/order'
import { describeSegment, ServiceNames, timedSpan } from '../describe.ts'
import type { SegmentRow } from '../store/rows.ts'
import type { Findings } from './report.ts'

/** Times, services and name of a whole segment are those of its spans. */
export function checkDescription(
  row: SegmentRow,
  spans: readonly SpanInput[],
  where: string,
  findings: Findings,
): void {
  const described = describeSegment(spans.map(timedSpan), new ServiceNames())
  const isSame =
    described.start === row.start &&
    described.end === row.end &&
    described.name === row.name &&
    described.services.length === row.services.length &&
    described.services.every((service, at) => service === row.services[at])
  if (!isSame)
    findings.problem(
      where,
      'its row has other times, services or another name than its spans',
      'The log itself may be whole; restore the data directory from a copy.',
      'index, trace',
    )
}
