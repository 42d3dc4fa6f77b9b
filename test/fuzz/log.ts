/** Fuzz targets of the log and of evidence: notes, checkpoints, policies, proofs, paths, bundles, journal frames. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { formatBase64, formatHex, utf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import { type Bundle, formatBundle, parseBundle } from '@rootspan/lineage/evidence/bundle'
import { formatCheckpoint, openCheckpoint, parseCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import { formatNote, parseNote } from '@rootspan/lineage/tlog/note'
import { formatPolicy, parsePolicy } from '@rootspan/lineage/tlog/policy'
import { entriesPath, parseEntriesPath, parseTilePath, tilePath } from '@rootspan/lineage/tlog/tile'
import { formatTlogProof, parseTlogProof } from '@rootspan/lineage/tlog/tlog-proof'
import { verify } from '@rootspan/lineage/verify'
import {
  encodeClosing,
  encodeFrame,
  FRAME_HEADER_BYTES,
  parseFrameHeader,
  payloadCrc,
  payloadHolds,
  REQUEST,
  TAG_BYTES,
  viewFrame,
} from '../../packages/collector/src/journal/frame.ts'
import { GOVERNED, TestLog } from '../support/executions.ts'
import { below, mutate, mutateProtobuf, pick, type Random } from './mutate.ts'
import type { Target } from './targets.ts'

let small: { readonly log: TestLog; readonly note: Uint8Array } | undefined

function smallLog(): NonNullable<typeof small> {
  if (small === undefined) {
    const log = new TestLog()
    log.settle(1, [GOVERNED])
    small = { log, note: log.checkpoint() }
  }
  return small
}

const text = (bytes: Uint8Array): string => new TextDecoder('utf-8', { fatal: false }).decode(bytes)

function demandSame(again: Uint8Array, bytes: Uint8Array): void {
  if (again.length !== bytes.length || again.some((byte, at) => byte !== bytes[at]))
    throw new Error('accepted, and not the one spelling of what it says')
}

const VECTORS = join(import.meta.dirname, '../vectors/bundles')
/** Bundles that hold, among them what a judgement takes from another execution, as it is and as far as it was erased. */
const goodBundles = (): Uint8Array[] =>
  ['a-tenant', 'a-revocation-in-another-execution', 'a-revocation-that-was-erased'].map(
    (name) => new Uint8Array(readFileSync(join(VECTORS, `${name}.rootspan`))),
  )

let originals: ReadonlySet<string> | undefined

/** The records of a bundle that verifies under the vectors' policy, as one text. */
function accepted(bundle: Uint8Array): string {
  const policy = parsePolicy(readFileSync(join(VECTORS, 'log.policy'), 'utf8'))
  const { records, checkpoint, context } = verify(bundle, policy)
  const placed = [...records, ...context.witnesses].map(({ index, leaf }) => `${index}:${formatHex(leaf)}`)
  return `${checkpoint.size} ${context.proven} ${context.erased} ${placed.join(' ')}`
}

/** One change of a bundle by its parts, in the one spelling of what comes out. */
function mutateBundle(input: Uint8Array, corpus: readonly Uint8Array[], random: Random): Uint8Array {
  let bundle: Bundle
  try {
    bundle = parseBundle(input)
  } catch {
    return mutate(input, corpus, [], random)
  }
  const lists = (['segments', 'erasures', 'context'] as const).filter((name) => bundle[name].length > 0)
  if (lists.length === 0) return mutate(input, corpus, [], random)
  const name = pick(lists, random)
  const changed = changeList(bundle[name], random, (part) => {
    switch (below(4, random)) {
      case 0:
        return { ...part, payload: mutateProtobuf(part.payload, [part.payload], random) }
      case 1:
        return {
          ...part,
          entries: changeList(part.entries, random, (entry) => mutateProtobuf(entry, part.entries, random)),
        }
      case 2:
        return {
          ...part,
          proof: changeList(part.proof, random, (hash) => hash.map(() => below(256, random))),
        }
      default:
        return { ...part, first: Math.max(0, part.first + below(5, random) - 2) }
    }
  })
  return formatBundle({ ...bundle, [name]: changed })
}

/** One line left out, doubled, moved or changed. */
function mutateLines(input: Uint8Array, corpus: readonly Uint8Array[], random: Random): Uint8Array {
  const lines = Buffer.from(input).toString('latin1').split('\n')
  const changed = changeList(lines, random, (line) =>
    Buffer.from(mutate(Buffer.from(line, 'latin1'), corpus, [], random)).toString('latin1'),
  )
  return new Uint8Array(Buffer.from(changed.join('\n'), 'latin1'))
}

/** One element left out, doubled, moved or changed. */
function changeList<T>(list: readonly T[], random: Random, change: (one: T) => T): T[] {
  const out = [...list]
  const at = below(out.length, random)
  if (out.length === 0) return out
  switch (below(6, random)) {
    case 0:
      out.splice(at, 1)
      break
    case 1:
      out.splice(below(out.length, random), 0, out[at]!)
      break
    case 2:
      out.splice(below(out.length, random), 0, ...out.splice(at, 1))
      break
    default:
      out[at] = change(out[at]!)
  }
  return out
}

/** Of a frame's header: offset and size of each number. */
const FRAME_NUMBERS = [
  [4, 1],
  [5, 1],
  [6, 2],
  [16, 4],
  [20, 4],
  [24, 4],
  [28, 4],
  [64, 4],
  [68, 4],
  [72, 4],
] as const

/** A number of the header changed, or anything, and both checksums put right, mostly. */
function mutateFrame(input: Uint8Array, corpus: readonly Uint8Array[], random: Random): Uint8Array {
  const out = Buffer.from(random() < 0.7 ? input : mutate(input, corpus, [], random))
  if (out.length < FRAME_HEADER_BYTES) return new Uint8Array(out)
  for (let changes = below(3, random); changes > 0; changes--) {
    const [at, size] = pick(FRAME_NUMBERS, random)
    const old = out.readUIntBE(at, size)
    const to = [old + 1, old - 1, 0, 1, 2, 80, 0x20_0000, 65_536, 65_537, 2 ** 28, 2 ** 28 + 1, 2 ** 32 - 1]
    out.writeUIntBE(Math.max(0, pick(to, random)) % 2 ** (size * 8), at, size)
  }
  if (random() < 0.8) out.writeUInt32BE(crc32(out.subarray(FRAME_HEADER_BYTES)), 72)
  if (random() < 0.95) out.writeUInt32BE(crc32(out.subarray(0, 76)), 76)
  return new Uint8Array(out)
}

/** The numbers of the header of a frame, slowly. */
function numberAt(bytes: Buffer, at: number, size: number): bigint {
  return size === 0 ? 0n : numberAt(bytes, at, size - 1) * 256n + BigInt(bytes[at + size - 1]!)
}

/** Whether the page (docs/formats/journal.md) lets a reader take the header of a frame, by its words. */
function isHeader(bytes: Buffer): boolean {
  const number = (at: number, size: number): bigint => numberAt(bytes, at, size)
  const position = number(16, 8)
  const durable = number(24, 8)
  const [receipt, body] = [number(64, 4), number(68, 4)]
  const isClosing =
    bytes[5] === 2 &&
    durable === position &&
    bytes.subarray(32, 64).every((byte) => byte === 0) &&
    receipt + body + number(72, 4) === 0n
  return (
    bytes.subarray(0, 4).toString('latin1') === 'RSjf' &&
    bytes[4] === 0 &&
    (bytes[5] === 1 || isClosing) &&
    number(6, 2) === 80n &&
    bytes.subarray(8, 16).every((byte) => byte === 7) &&
    position < 2n ** 53n &&
    durable <= position &&
    receipt <= 65_536n &&
    body <= 268_435_456n &&
    number(76, 4) === BigInt(crc32(bytes.subarray(0, 76)))
  )
}

/** And the frame that these bytes begin with. */
function isFrame(bytes: Buffer): boolean {
  const end = 80 + Number(numberAt(bytes, 64, 4) + numberAt(bytes, 68, 4))
  return (
    isHeader(bytes) &&
    end <= bytes.length &&
    numberAt(bytes, 72, 4) === BigInt(crc32(bytes.subarray(80, end)))
  )
}

const FRAME_TAG = new Uint8Array(TAG_BYTES).fill(7)
const FRAME_ENTRY = { seed: new Uint8Array(32).fill(1), receipt: utf8('receipt'), body: utf8('a body') }

export const logTargets: readonly Target[] = [
  {
    name: 'notes',
    maxMillis: 500,
    seeds: () => [smallLog().note],
    mutate: mutateLines,
    run: (bytes) => {
      const note = parseNote(bytes)
      demandSame(formatNote(note.text, note.signatures), bytes)
    },
  },
  {
    name: 'checkpoints',
    maxMillis: 500,
    seeds: () => [smallLog().note],
    mutate: mutateLines,
    run: (bytes) => {
      const { log, note } = smallLog()
      const { checkpoint } = openCheckpoint(bytes, log.policy)
      // Whatever was accepted says what was signed.
      if (formatCheckpoint(checkpoint) !== parseNote(note).text)
        throw new Error('a forged checkpoint was accepted')
      parseCheckpoint(parseNote(bytes).text)
    },
  },
  {
    name: 'policies',
    maxMillis: 500,
    seeds: () => [utf8(smallLog().log.policyText)],
    mutate: mutateLines,
    run: (bytes) => {
      const policy = parsePolicy(bytes)
      if (formatPolicy(parsePolicy(formatPolicy(policy))) !== formatPolicy(policy))
        throw new Error('a policy does not survive being written')
    },
  },
  {
    name: 'paths',
    maxMillis: 100,
    seeds: () => [utf8(tilePath(1, 1_234_067, 256)), utf8(tilePath(0, 273, 112)), utf8(entriesPath(5, 9))],
    run: (bytes) => {
      const path = text(bytes)
      if (path.includes('entries')) {
        const { index, width } = parseEntriesPath(path)
        if (entriesPath(index, width) !== path) throw new Error('two spellings of a path')
      } else {
        const { level, index, width } = parseTilePath(path)
        if (tilePath(level, index, width) !== path) throw new Error('two spellings of a path')
      }
    },
  },
  {
    name: 'proofs',
    maxMillis: 500,
    seeds: () => {
      const { note } = smallLog()
      const path = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)]
      return [formatTlogProof({ index: 3, path, extra: utf8('extra'), checkpoint: note })]
    },
    mutate: mutateLines,
    tokens: ['index 0\n', `extra ${formatBase64(utf8('x'))}\n`],
    run: (bytes) => demandSame(formatTlogProof(parseTlogProof(bytes)), bytes),
  },
  {
    name: 'bundles',
    maxMillis: 3000,
    seeds: goodBundles,
    mutate: mutateBundle,
    run: (bytes) => {
      originals ??= new Set(goodBundles().map(accepted))
      demandSame(formatBundle(parseBundle(bytes)), bytes)
      if (!originals.has(accepted(bytes))) throw new Error('another execution was accepted')
    },
  },
  {
    name: 'frames',
    maxMillis: 500,
    seeds: () => [
      Buffer.concat(
        encodeFrame(FRAME_ENTRY, payloadCrc(FRAME_ENTRY.receipt, FRAME_ENTRY.body), {
          tag: FRAME_TAG,
          position: 5,
          durable: 3,
        }),
      ),
      encodeClosing(FRAME_TAG, 5),
    ],
    mutate: mutateFrame,
    run: (bytes) => {
      if (bytes.length < FRAME_HEADER_BYTES) throw new MalformedError('shorter than a header')
      const buffer = Buffer.from(bytes)
      if (isHeader(buffer) !== (typeof parseFrameHeader(buffer, 0, FRAME_TAG) !== 'string'))
        throw new Error('a header is taken for one and is none, or the other way round')
      const accepted = isFrame(buffer)
      try {
        readFrame(buffer)
      } catch (error) {
        if (accepted) throw new Error('a frame was refused', { cause: error })
        throw error
      }
      if (!accepted) throw new Error('what is no frame was accepted')
    },
  },
]

function readFrame(buffer: Buffer): void {
  const header = parseFrameHeader(buffer, 0, FRAME_TAG)
  if (typeof header === 'string') throw new MalformedError(header)
  if (header.frameLength > buffer.length) throw new MalformedError('cut short')
  if (!payloadHolds(buffer, 0, header)) throw new MalformedError('payload checksum')
  const frame = viewFrame(buffer, 0, header, { segment: 0, fileOffset: 0 })
  const { receipt, body, position, durable } = frame
  const again =
    header.kind === REQUEST
      ? Buffer.concat(encodeFrame(frame, payloadCrc(receipt, body), { tag: FRAME_TAG, position, durable }))
      : encodeClosing(FRAME_TAG, position)
  demandSame(again, buffer.subarray(0, header.frameLength))
}
