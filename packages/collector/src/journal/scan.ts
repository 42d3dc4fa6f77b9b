/** What a frame of the journal holds, as rows. */

import { type SpanTable, scanTraces } from '@rootspan/lineage/otlp/scan'
import { scanLogs } from '@rootspan/lineage/otlp/scan-logs'
import { parseReceipt, type Receipt } from '@rootspan/lineage/record/receipt'

/** Scans the request of a frame into `table`; its receipt says of which signal it is. */
export function scanFrame(
  frame: { readonly receipt: Uint8Array; readonly body: Uint8Array },
  table: SpanTable,
): { readonly receipt: Required<Receipt>; readonly table: SpanTable } {
  const receipt = parseReceipt(frame.receipt)
  if (receipt.signal === 'logs') scanLogs(frame.body, table)
  else scanTraces(frame.body, table)
  return { receipt, table }
}
