/** Legal holds: what must not be erased, kept in the store as long as they last. */
import { concatBytes, parseUtf8, utf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import { Sink } from '@rootspan/lineage/record/sink'
import { WireReader } from '@rootspan/lineage/wire'
import type { PackReader } from '../pack.ts'
import * as keys from '../store/keys.ts'
import type { Database } from '../store/log-store.ts'
import { isErased, type SegmentRow } from '../store/rows.ts'
import { type Found, LastBlock, mentionsSubject } from './select.ts'

/** What is held: one execution, or all of a subject, now and later. */
export type Held =
  | { readonly tenant: string; readonly traceId: Uint8Array }
  | { readonly tenant: string; readonly subject: string }

export type Hold = Held & {
  /** Leaf of the record that began it: what it is known by. */
  readonly leaf: number
  readonly reason: string
  readonly by: string
  /** Nanoseconds since 1970. */
  readonly at: bigint
}

export function encodeHold(hold: Hold): Uint8Array {
  const sink = new Sink(256)
  if (hold.tenant !== '') sink.field(0x0a, utf8(hold.tenant))
  if ('traceId' in hold) sink.field(0x12, hold.traceId)
  else sink.field(0x1a, utf8(hold.subject))
  sink.field(0x22, utf8(hold.reason))
  sink.field(0x2a, utf8(hold.by))
  const time = new Uint8Array(9)
  time[0] = 0x31
  new DataView(time.buffer).setBigUint64(1, hold.at, true)
  return concatBytes(sink.view(), time)
}

function parseHold(leaf: number, bytes: Uint8Array): Hold {
  const hold = { tenant: '', reason: '', by: '', at: 0n }
  let traceId: Uint8Array | undefined
  let subject: string | undefined
  const reader = new WireReader(bytes)
  while (reader.next()) {
    if (reader.field === 1) hold.tenant = parseUtf8(reader.value())
    else if (reader.field === 2) traceId = reader.value().slice()
    else if (reader.field === 3) subject = parseUtf8(reader.value())
    else if (reader.field === 4) hold.reason = parseUtf8(reader.value())
    else if (reader.field === 5) hold.by = parseUtf8(reader.value())
    else if (reader.field === 6) hold.at = reader.uint64()
    else throw new MalformedError('a hold has an unknown field')
  }
  if (traceId?.length === 16 && subject === undefined) return { ...hold, leaf, traceId }
  if (subject !== undefined && traceId === undefined) return { ...hold, leaf, subject }
  throw new MalformedError('a hold is of no execution and no subject')
}

/** All holds, oldest first. Throws a MalformedError where one is damaged. */
export async function listHolds(database: Database): Promise<Hold[]> {
  const holds: Hold[] = []
  const range = { gte: Uint8Array.of(keys.Prefix.hold), lt: Uint8Array.of(keys.Prefix.hold + 1) }
  for await (const [key, value] of database.iterator(range)) holds.push(parseHold(keys.keyNumber(key), value))
  return holds
}

/** Says which executions are held. Where subjects are, that reads payloads, the last block of which is kept. */
export class HoldFilter {
  readonly #traces = new Set<string>()
  readonly #subjects: { readonly tenant: string; readonly test: (payload: Uint8Array) => boolean }[] = []
  readonly #blocks: LastBlock

  constructor(holds: readonly Hold[], packs: Pick<PackReader, 'readSync'>) {
    this.#blocks = new LastBlock(packs)
    for (const hold of holds)
      if ('traceId' in hold) this.#traces.add(nameOf(hold.tenant, hold.traceId))
      else this.#subjects.push({ tenant: hold.tenant, test: mentionsSubject(hold.subject) })
  }

  /** `rows` are all segments of one execution. */
  isHeld(rows: readonly SegmentRow[]): boolean {
    const { tenant, traceId } = rows[0]!
    if (this.#traces.has(nameOf(tenant, traceId))) return true
    const subjects = this.#subjects.filter((one) => one.tenant === tenant)
    if (subjects.length === 0) return false
    return rows.some((row) => {
      if (isErased(row)) return false
      const payload = this.#blocks.payload(row)
      return subjects.some(({ test }) => test(payload))
    })
  }
}

/** Divides what was found into what may be erased and what is held. */
export async function withoutHeld(
  database: Database,
  packs: Pick<PackReader, 'readSync'>,
  found: readonly Found[],
): Promise<{ found: Found[]; held: Found[] }> {
  const holds = await listHolds(database)
  if (holds.length === 0) return { found: [...found], held: [] }
  const filter = new HoldFilter(holds, packs)
  const divided = Map.groupBy(found, ({ rows }) => filter.isHeld(rows))
  return { found: divided.get(false) ?? [], held: divided.get(true) ?? [] }
}

function nameOf(tenant: string, traceId: Uint8Array): string {
  return `${Buffer.from(traceId).toString('hex')} ${tenant}`
}
