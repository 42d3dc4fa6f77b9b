/** The journal against vectors that another program made (test/vectors/journal/make.py). */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { nodeFiles } from '../files.ts'
import { JournalCorruption } from './errors.ts'
import {
  CLOSING,
  encodeClosing,
  encodeFrame,
  encodeSegmentHeader,
  parseFrameHeader,
  parseSegmentHeader,
  payloadCrc,
  payloadHolds,
  viewFrame,
} from './frame.ts'
import { JournalReader } from './reader.ts'
import { recover } from './recovery.ts'

interface Refused {
  readonly name: string
  readonly hex: string
  readonly reason: string
}

interface FrameCase {
  readonly name: string
  readonly hex: string
  readonly kind: number
  readonly position: number
  readonly durable: number
  readonly seed: string
  readonly receipt: string
  readonly body: string
}

interface JournalCase {
  readonly name: string
  readonly committed: number
  /** The content of each file, by name. */
  readonly files: Readonly<Record<string, string>>
  /** The next position, and how many bytes of the last segment are cut. */
  readonly end?: number
  readonly cut?: number
  readonly corrupt?: { readonly file: string; readonly offset: number; readonly reason: string }
}

interface Vectors {
  readonly tag: string
  readonly headers: {
    readonly valid: readonly { name: string; hex: string; first: number }[]
    readonly invalid: readonly Refused[]
  }
  readonly frames: { readonly valid: readonly FrameCase[]; readonly invalid: readonly Refused[] }
  readonly journals: readonly JournalCase[]
}

const path = join(import.meta.dirname, '../../../../test/vectors/journal/journal.json')
const vectors: Vectors = JSON.parse(readFileSync(path, 'utf8'))
const fromHex = (hex: string): Buffer => Buffer.from(hex, 'hex')
const TAG = fromHex(vectors.tag)

describe('segment headers', () => {
  test.each(vectors.headers.valid)('$name', ({ hex, first }) => {
    expect(encodeSegmentHeader(TAG, first).toString('hex')).toBe(hex)
    expect(parseSegmentHeader(fromHex(hex))).toEqual({ tag: TAG, first })
  })

  test.each(vectors.headers.invalid)('refused: $name', ({ hex, reason }) => {
    expect(parseSegmentHeader(fromHex(hex))).toBe(reason)
  })

  test('and with any byte changed, and cut off anywhere', () => {
    const segment = fromHex(vectors.headers.valid[1]!.hex)
    for (let at = 0; at < segment.length; at++) {
      const bad = Buffer.from(segment)
      bad[at]! ^= 1
      expect(typeof parseSegmentHeader(bad), `byte ${at}`).toBe('string')
      expect(typeof parseSegmentHeader(segment.subarray(0, at))).toBe('string')
    }
  })
})

describe('frames', () => {
  test.each(vectors.frames.valid)('$name', ({ hex, kind, position, durable, ...fields }) => {
    const bytes = fromHex(`ffff${hex}ff`)
    const header = parseFrameHeader(bytes, 2, TAG)
    if (typeof header === 'string') throw new Error(header)
    expect(header).toMatchObject({ kind, position, durable, frameLength: hex.length / 2 })
    expect(payloadHolds(bytes, 2, header)).toBe(true)
    const { seed, receipt, body, ...place } = viewFrame(bytes, 2, header, { segment: 0, fileOffset: 77 })
    expect({ seed, receipt, body: Buffer.from(body) }).toEqual({
      seed: fromHex(fields.seed),
      receipt: fromHex(fields.receipt),
      body: fromHex(fields.body),
    })
    expect(place).toMatchObject({ position, durable, segment: 0, fileOffset: 77 })
    const again =
      kind === CLOSING
        ? encodeClosing(TAG, position)
        : Buffer.concat(
            encodeFrame({ seed, receipt, body }, payloadCrc(receipt, body), { tag: TAG, position, durable }),
          )
    expect(again.toString('hex')).toBe(hex)
  })

  test.each(vectors.frames.invalid)('refused: $name', ({ hex, reason }) => {
    const bytes = fromHex(hex)
    const header = parseFrameHeader(bytes, 0, TAG)
    if (typeof header === 'string') expect(header).toBe(reason)
    else expect([payloadHolds(bytes, 0, header), reason]).toEqual([false, 'frame payload checksum'])
  })

  test('and with any byte changed', () => {
    const { hex } = vectors.frames.valid[0]!
    for (let at = 0; at < hex.length / 2; at++) {
      const bad = fromHex(hex)
      bad[at]! ^= 1
      const header = parseFrameHeader(bad, 0, TAG)
      expect(typeof header !== 'string' && payloadHolds(bad, 0, header), `byte ${at}`).toBe(false)
    }
  })
})

describe('journals', () => {
  let directory = ''
  afterEach(() => rmSync(directory, { recursive: true }))

  test.each(vectors.journals)('$name', async ({ files, committed, end, cut, corrupt }) => {
    directory = mkdtempSync(join(tmpdir(), 'rootspan-journal-'))
    const stored = Object.entries(files).map(([name, hex]) => [join(directory, name), fromHex(hex)] as const)
    for (const [file, bytes] of stored) writeFileSync(file, bytes)
    const told: unknown[] = []
    const options = {
      directory,
      files: nodeFiles,
      committedEnd: committed === 0 ? undefined : committed,
      log: { info() {}, warn: (fields: object) => void told.push(fields) },
      random: () => TAG,
    }
    if (corrupt !== undefined) {
      const error: unknown = await recover(options).then(
        () => undefined,
        (error: unknown) => error,
      )
      if (!(error instanceof JournalCorruption)) throw new Error('accepted', { cause: error })
      const { offset, reason } = error
      const file = error.file === directory ? '' : basename(error.file)
      expect({ file, offset, reason }).toEqual(corrupt)
      for (const [file, bytes] of stored) expect(readFileSync(file).equals(bytes), file).toBe(true)
      return
    }
    const recovered = await recover(options)
    await recovered!.file.close()
    expect(recovered!.end).toBe(end)
    expect(told).toEqual(cut === undefined ? [] : [expect.objectContaining({ bytes: cut })])
    const last = recovered!.segments.at(-1)!
    expect(statSync(last.path).size).toBe(last.bytes)
    if (cut !== undefined) expect(last.bytes).toBe(files[basename(last.path)]!.length / 2 - cut)
    const from = recovered!.segments[0]!.first
    const reader = new JournalReader({ directory, from })
    const positions: number[] = []
    while (reader.next < end!) positions.push(...reader.read(end!, 1).map(({ position }) => position))
    reader.close()
    expect(positions).toEqual(Array.from({ length: end! - from }, (_, at) => from + at))
  })
})
