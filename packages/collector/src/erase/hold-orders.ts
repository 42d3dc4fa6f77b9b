/** Begins and ends legal holds, and says so in the log: of a stopped collector. */
import { heldRecord } from '@rootspan/lineage/record/about-log'
import type { Config } from '../config.ts'
import type { Logger } from '../logger.ts'
import { OperatorError } from '../operator-error.ts'
import type { Identity } from '../origin.ts'
import { readSegment } from '../sequencer.ts'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import { encodeName } from '../store/rows.ts'
import { encodeHold, type Held, listHolds } from './holds.ts'
import { openStopped } from './stopped.ts'

const MAX_SEALS = 32

export interface HoldOrder {
  readonly reason: string
  readonly by: string
}

/** Begins a hold and says so in the log. Throws an OperatorError where the execution is not there. */
export async function addHold(
  config: Config,
  identity: Identity,
  log: Logger,
  what: Held,
  { reason, by }: HoldOrder,
): Promise<number> {
  const opened = await openStopped(config, identity, log)
  const at = BigInt(Date.now()) * 1_000_000n
  let leaf = 0
  try {
    const seals = 'traceId' in what ? await sealsOf(opened.reader, what) : []
    await opened.sequencer.record(async (first) => {
      leaf = first
      const selector = 'traceId' in what ? 'trace' : 'subject'
      const record = heldRecord(
        what.tenant,
        seals,
        { state: 'held', selector, reason, by, at },
        opened.random,
      )
      return {
        records: [record],
        changes: [[keys.holdKey(first), encodeHold({ ...what, leaf: first, reason, by, at })]],
      }
    })
    await opened.sign()
  } finally {
    await opened.close()
  }
  return leaf
}

/** Ends a hold and says so in the log. Throws an OperatorError where there is none that began with this leaf. */
export async function removeHold(
  config: Config,
  identity: Identity,
  log: Logger,
  leaf: number,
  { reason, by }: HoldOrder,
): Promise<void> {
  const opened = await openStopped(config, identity, log)
  try {
    const hold = (await listHolds(opened.database)).find((one) => one.leaf === leaf)
    if (hold === undefined)
      throw new OperatorError(
        `no hold began with leaf ${leaf}`,
        'rootspan hold list shows all that there are.',
      )
    const { leaves } = await readSegment(opened.reader, { first: leaf, count: 1 })
    const selector = 'traceId' in hold ? 'trace' : 'subject'
    const at = BigInt(Date.now()) * 1_000_000n
    await opened.sequencer.record(async () => ({
      records: [
        heldRecord(hold.tenant, [leaves], { state: 'released', selector, reason, by, at }, opened.random),
      ],
      changes: [[keys.holdKey(leaf), undefined]],
    }))
    await opened.sign()
  } finally {
    await opened.close()
  }
}

/** Leaf hashes of the last seals of an execution. */
async function sealsOf(
  reader: LogReader,
  { tenant, traceId }: { readonly tenant: string; readonly traceId: Uint8Array },
): Promise<Uint8Array[]> {
  const [rows = []] = await reader.traces([keys.traceId(encodeName(tenant), traceId)])
  if (rows.length === 0)
    throw new OperatorError(
      `no execution with trace id ${Buffer.from(traceId).toString('hex')} is committed`,
      'Check the trace id.',
    )
  const seals: Uint8Array[] = []
  for (const row of rows.slice(-MAX_SEALS))
    seals.push((await readSegment(reader, { first: row.first + row.count - 1, count: 1 })).leaves)
  return seals
}
