import { expect, test } from 'vitest'
import {
  CLOSING,
  encodeClosing,
  encodeFrame,
  encodeSegmentHeader,
  FRAME_HEADER_BYTES,
  parseFrameHeader,
  parseSegmentHeader,
  payloadCrc,
  payloadHolds,
  REQUEST,
  viewFrame,
} from './frame.ts'

// The vectors of docs/formats/journal.md, computed in Python (struct, zlib.crc32).
const TAG = Buffer.from('a0a1a2a3a4a5a6a7', 'hex')
const SEGMENT = '52536a7300000000a0a1a2a3a4a5a6a7000000020000000700000000d2898006'
const FRAME =
  '52536a6600010050a0a1a2a3a4a5a6a700000002000000090000000200000008' +
  '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f' +
  '0000000b0000000399d5d23e9471e6bc0a096f746c702f67727063616263'
const CLOSED =
  '52536a6600020050a0a1a2a3a4a5a6a7000000020000000a000000020000000a' +
  '0000000000000000000000000000000000000000000000000000000000000000' +
  '000000000000000000000000831679fc'
const BASE = 2 ** 33
const entry = {
  seed: Uint8Array.from({ length: 32 }, (_, i) => i),
  receipt: Buffer.from('\n\totlp/grpc'),
  body: Buffer.from('abc'),
}

test('bytes are those of the page', () => {
  expect(encodeSegmentHeader(TAG, BASE + 7).toString('hex')).toBe(SEGMENT)
  const place = { tag: TAG, position: BASE + 9, durable: BASE + 8 }
  const [head, body] = encodeFrame(entry, payloadCrc(entry.receipt, entry.body), place)
  expect(body).toBe(entry.body)
  expect(Buffer.concat([head, body]).toString('hex')).toBe(FRAME)
  expect(encodeClosing(TAG, BASE + 10).toString('hex')).toBe(CLOSED)
})

test('and parse to what they were made of', () => {
  expect(parseSegmentHeader(Buffer.from(SEGMENT, 'hex'))).toEqual({ tag: TAG, first: BASE + 7 })
  const bytes = Buffer.from(`ffff${FRAME}ff`, 'hex')
  const header = parseFrameHeader(bytes, 2, TAG)
  if (typeof header === 'string') throw new Error(header)
  expect(header).toMatchObject({ kind: REQUEST, position: BASE + 9, durable: BASE + 8, frameLength: 94 })
  expect(payloadHolds(bytes, 2, header)).toBe(true)
  const frame = viewFrame(bytes, 2, header, { segment: 0, fileOffset: 77 })
  expect(Buffer.from(frame.seed).equals(entry.seed)).toBe(true)
  expect(frame.receipt.toString()).toBe(entry.receipt.toString())
  expect(Buffer.from(frame.body).toString()).toBe('abc')
  expect(frame.bytes.toString('hex')).toBe(FRAME)
  expect(parseFrameHeader(Buffer.from(CLOSED, 'hex'), 0, TAG)).toMatchObject({
    kind: CLOSING,
    frameLength: FRAME_HEADER_BYTES,
  })
})

test('a header of another segment, or with any byte changed, is none', () => {
  const bytes = Buffer.from(FRAME, 'hex')
  expect(parseFrameHeader(bytes, 0, Buffer.alloc(8))).toBe('frame of another segment')
  for (let at = 0; at < bytes.length; at++) {
    const bad = Buffer.from(bytes)
    bad[at]! ^= 1
    const header = parseFrameHeader(bad, 0, TAG)
    if (at < FRAME_HEADER_BYTES) expect(typeof header).toBe('string')
    else expect(typeof header !== 'string' && payloadHolds(bad, 0, header)).toBe(false)
  }
  const segment = Buffer.from(SEGMENT, 'hex')
  for (let at = 0; at < segment.length; at++) {
    const bad = Buffer.from(segment)
    bad[at]! ^= 1
    expect(typeof parseSegmentHeader(bad)).toBe('string')
    expect(typeof parseSegmentHeader(segment.subarray(0, at))).toBe('string')
  }
})
