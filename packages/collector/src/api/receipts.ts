/** Durability receipts: whether the request at a journal position was committed, and to which leaves. */
import type { Board } from '../board.ts'
import type { Cursor } from '../store/cursor.ts'
import type { LogReader } from '../store/log-store.ts'

export interface ReceiptState {
  position: number
  /**
   * `unknown`: nothing durable is at this position. `journalled`: durable, and at least one span is not committed
   * yet. `committed`: every span of the request is decided.
   */
  state: 'unknown' | 'journalled' | 'committed'
  /**
   * Committed spans by their place in the request, with their leaves; a span that repeated another has that one's
   * leaf. Kept only for requests whose sender asked for a receipt; spans that were refused have none.
   */
  leaves: { span: number; leaf: number }[]
  /** Leaves below are committed. */
  treeSize: number
  /** Leaves below are under a signed checkpoint. */
  checkpointSize: number
}

export async function lookUpReceipt(
  reader: LogReader,
  board: Pick<Board, 'get'>,
  position: number,
  checkpointSize: number,
): Promise<ReceiptState> {
  const treeSize = Math.max(board.get('tree_size'), checkpointSize)
  if (position >= board.get('journal_durable_position'))
    return { position, state: 'unknown', leaves: [], treeSize, checkpointSize }
  // The cursor first: what it calls decided has its leaves in the store by then.
  const committed = isDecided(await reader.cursor(), position)
  const leaves = (await reader.receipt(position))
    .map(([span, leaf]) => ({ span, leaf }))
    .sort((a, b) => a.span - b.span)
  return { position, state: committed ? 'committed' : 'journalled', leaves, treeSize, checkpointSize }
}

/** Whether every span of the request at this position is decided. */
function isDecided(cursor: Cursor, position: number): boolean {
  if (position < cursor.next) return true
  return cursor.whole.some(({ from, count }) => position >= from && position < from + count)
}
