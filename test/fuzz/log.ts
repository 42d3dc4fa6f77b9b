/** Fuzz targets of the log and of evidence: notes, checkpoints, policies, proofs, paths, bundles, journal frames. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { formatBase64, formatHex, utf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import { formatBundle, parseBundle } from '@rootspan/lineage/evidence/bundle'
import { formatCheckpoint, openCheckpoint, parseCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import { formatNote, parseNote } from '@rootspan/lineage/tlog/note'
import { formatPolicy, parsePolicy } from '@rootspan/lineage/tlog/policy'
import { entriesPath, parseEntriesPath, parseTilePath, tilePath } from '@rootspan/lineage/tlog/tile'
import { formatTlogProof, parseTlogProof } from '@rootspan/lineage/tlog/tlog-proof'
import { verify } from '@rootspan/lineage/verify'
import {
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
import type { Target } from './targets.ts'

function smallLog(): { log: TestLog; note: Uint8Array } {
  const log = new TestLog()
  log.settle(1, [GOVERNED])
  return { log, note: log.checkpoint() }
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

const FRAME_TAG = new Uint8Array(TAG_BYTES).fill(7)
const FRAME_ENTRY = { seed: new Uint8Array(32).fill(1), receipt: utf8('receipt'), body: utf8('a body') }

export const logTargets: readonly Target[] = [
  {
    name: 'notes',
    maxMillis: 500,
    seeds: () => [smallLog().note],
    run: (bytes) => {
      const note = parseNote(bytes)
      demandSame(formatNote(note.text, note.signatures), bytes)
    },
  },
  {
    name: 'checkpoints',
    maxMillis: 500,
    seeds: () => [smallLog().note],
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
    tokens: ['index 0\n', `extra ${formatBase64(utf8('x'))}\n`],
    run: (bytes) => demandSame(formatTlogProof(parseTlogProof(bytes)), bytes),
  },
  {
    name: 'bundles',
    maxMillis: 3000,
    seeds: goodBundles,
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
    ],
    run: (bytes) => {
      if (bytes.length < FRAME_HEADER_BYTES) throw new MalformedError('shorter than a header')
      const buffer = Buffer.from(bytes)
      // Most changes fail a checksum; with the header's put right, what is behind it is tried as well.
      if (bytes.length % 2 === 0) buffer.writeUInt32BE(crc32(buffer.subarray(0, 76)), 76)
      const header = parseFrameHeader(buffer, 0, FRAME_TAG)
      if (typeof header === 'string') throw new MalformedError(header)
      if (header.frameLength > buffer.length) throw new MalformedError('cut short')
      if (!payloadHolds(buffer, 0, header)) throw new MalformedError('payload checksum')
      if (header.kind !== REQUEST) return
      const frame = viewFrame(buffer, 0, header, { segment: 0, fileOffset: 0 })
      const { seed, receipt, body, position, durable } = frame
      const again = Buffer.concat(
        encodeFrame(frame, payloadCrc(receipt, body), { tag: FRAME_TAG, position, durable }),
      )
      if (seed.length !== 32) throw new Error('a frame without a seed was accepted')
      demandSame(again, buffer.subarray(0, header.frameLength))
    },
  },
]
