/** Values of claims for people: out of the encoding that commitments are over (docs/formats/commitments.md). */
import { formatHex, parseUtf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import {
  type AnyValue,
  doubleOfBits,
  formatValue,
  type KeyValue,
  VALUE_TYPES,
} from '@rootspan/lineage/otlp/value'

/** The text of an encoded value, as `formatValue` has it; its bytes in hex where it is no such thing. */
export function formatEncoded(bytes: Uint8Array): string {
  try {
    return formatValue(decode(bytes, 0))
  } catch (error) {
    if (!(error instanceof MalformedError) && !(error instanceof RangeError)) throw error
    return `0x${formatHex(bytes)}`
  }
}

const MAX_DEPTH = 32

function decode(bytes: Uint8Array, depth: number): AnyValue {
  if (depth > MAX_DEPTH) throw new MalformedError('a value is nested too deeply')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const rest = bytes.subarray(1)
  switch (bytes[0]) {
    case VALUE_TYPES.string:
      return { type: 'string', value: parseUtf8(rest) }
    case VALUE_TYPES.bool:
      return { type: 'bool', value: rest[0] === 1 }
    case VALUE_TYPES.int:
      return { type: 'int', value: view.getBigInt64(1) }
    case VALUE_TYPES.double:
      return doubleOfBits(view.getBigUint64(1))
    case VALUE_TYPES.bytes:
      return { type: 'bytes', value: rest }
    case VALUE_TYPES.array: {
      const value: AnyValue[] = []
      for (let at = 5; at < bytes.length; at += 4 + view.getUint32(at))
        value.push(decode(bytes.subarray(at + 4, at + 4 + view.getUint32(at)), depth + 1))
      return { type: 'array', value }
    }
    case VALUE_TYPES.kvlist: {
      const value: KeyValue[] = []
      for (let at = 5; at < bytes.length; ) {
        const keyEnd = at + 2 + view.getUint16(at)
        const end = keyEnd + 4 + view.getUint32(keyEnd)
        value.push({
          key: parseUtf8(bytes.subarray(at + 2, keyEnd)),
          value: decode(bytes.subarray(keyEnd + 4, end), depth + 1),
        })
        at = end
      }
      return { type: 'kvlist', value }
    }
    default:
      return { type: 'empty' }
  }
}
