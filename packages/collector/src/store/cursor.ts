/**
 * The journal cursor: which spans of the journal are decided (docs/formats/store.md, "Cursor").
 *
 * `next` is the first position that holds an undecided span; of the positions after it that were read, some
 * are decided whole and some in part. Everything else is undecided. Replay skips by position, never by content.
 */
import { MalformedError } from '@rootspan/lineage/errors'
import { Sink } from '@rootspan/lineage/record/sink'
import { WireReader } from '@rootspan/lineage/wire'

export interface Cursor {
  /** Everything below is decided. */
  readonly next: number
  /** Runs of positions, ascending and apart, that are decided whole. */
  readonly whole: readonly { readonly from: number; readonly count: number }[]
  /** Positions decided in part: one bit a span, lowest bit first. */
  readonly partial: ReadonlyMap<number, Uint8Array>
}

export const START: Cursor = { next: 0, whole: [], partial: new Map() }

/** The position after the last one of which the cursor knows anything: the journal reaches at least up to here. */
export function cursorEnd({ next, whole, partial }: Cursor): number {
  let end = next
  for (const { from, count } of whole) end = Math.max(end, from + count)
  for (const position of partial.keys()) end = Math.max(end, position + 1)
  return end
}

export function encodeCursor(cursor: Cursor): Uint8Array {
  const sink = new Sink(256)
  const one = new Sink(256)
  sink.byte(0x08)
  sink.varint(cursor.next)
  for (const { from, count } of cursor.whole) {
    one.at = 0
    one.byte(0x08)
    one.varint(from - cursor.next)
    one.byte(0x10)
    one.varint(count)
    sink.field(0x12, one.view())
  }
  for (const [position, bits] of cursor.partial) {
    one.at = 0
    one.byte(0x08)
    one.varint(position - cursor.next)
    one.field(0x12, bits)
    sink.field(0x1a, one.view())
  }
  return sink.copy()
}

export function parseCursor(bytes: Uint8Array): Cursor {
  let next = 0
  const whole: { from: number; count: number }[] = []
  const partial = new Map<number, Uint8Array>()
  const reader = new WireReader(bytes)
  while (reader.next()) {
    if (reader.field === 1) next = reader.safe('next')
    else if (reader.field === 2 || reader.field === 3) {
      const inner = new WireReader(bytes, reader.start, reader.end)
      let at = 0
      let count = 0
      let bits = new Uint8Array(0) as Uint8Array
      while (inner.next()) {
        if (inner.field === 1) at = inner.safe('a position')
        else if (inner.field === 2 && reader.field === 2) count = inner.safe('a count')
        else if (inner.field === 2) bits = inner.value().slice()
      }
      if (reader.field === 2) whole.push({ from: next + at, count })
      else partial.set(next + at, bits)
    } else throw new MalformedError('a cursor has an unknown field')
  }
  return { next, whole, partial }
}
