/**
 * The receipt: what the collector itself saw of a request (docs/formats/commitments.md). Its bytes are part of
 * the evidence of every span in the request.
 */
import { equalBytes, parseUtf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { BYTES, FIXED64, VARINT, WireReader, WireWriter } from '../wire.ts'

export interface Receipt {
  /** `otlp/grpc`, `otlp/http`, `otlp/http+json`, `opa` or `ssf`. */
  readonly receiver: string
  /** The authenticated peer; empty where nobody was authenticated. */
  readonly peer: string
  /** From authentication; empty is the default tenant. */
  readonly tenant: string
  /** Nanoseconds since 1970, by the collector's clock. */
  readonly receivedAt: bigint
  /** The sender asked for a durability receipt. */
  readonly tracked: boolean
  /** What the request holds: spans, where nothing is said, or log records. */
  readonly signal?: 'traces' | 'logs'
}

export function encodeReceipt(receipt: Receipt): Uint8Array {
  const out = new WireWriter(64)
  if (receipt.receiver !== '') out.string(1, receipt.receiver)
  if (receipt.peer !== '') out.string(2, receipt.peer)
  if (receipt.tenant !== '') out.string(3, receipt.tenant)
  if (receipt.receivedAt !== 0n) out.fixed64(4, receipt.receivedAt)
  if (receipt.tracked) out.varint(5, 1)
  if (receipt.signal === 'logs') out.varint(6, 1)
  return out.finish()
}

/** Parses a receipt; throws a MalformedError for anything but the one encoding of its contents. */
export function parseReceipt(bytes: Uint8Array): Required<Receipt> {
  const receipt = {
    receiver: '',
    peer: '',
    tenant: '',
    receivedAt: 0n,
    tracked: false,
    signal: 'traces' as 'traces' | 'logs',
  }
  const reader = new WireReader(bytes)
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        receipt.receiver = text(reader, 'the receiver')
        break
      case 2:
        receipt.peer = text(reader, 'the peer')
        break
      case 3:
        receipt.tenant = text(reader, 'the tenant')
        break
      case 4:
        reader.expect(FIXED64, 'the time of receipt')
        receipt.receivedAt = reader.uint64()
        break
      case 5:
        reader.expect(VARINT, 'the tracking mark')
        receipt.tracked = (reader.low | reader.high) !== 0
        break
      case 6:
        reader.expect(VARINT, 'the signal')
        receipt.signal = (reader.low | reader.high) !== 0 ? 'logs' : 'traces'
        break
      default:
        throw new MalformedError('a receipt has an unknown field')
    }
  }
  if (!equalBytes(encodeReceipt(receipt), bytes))
    throw new MalformedError('a receipt is not in canonical form')
  return receipt
}

function text(reader: WireReader, what: string): string {
  reader.expect(BYTES, what)
  return parseUtf8(reader.value(), what)
}
