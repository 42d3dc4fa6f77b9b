/**
 * What OTLP's answers say, out of their protobuf: as much of a reader as that takes. An answer that is none says nothing.
 */

/** `partial_success.rejected_spans` of an `ExportTraceServiceResponse`: field 1 of field 1. 0 if there is none. */
export function rejectedSpans(response: Uint8Array): number {
  for (const [number, partial] of fieldsOf(response))
    if (number === 1 && partial instanceof Uint8Array)
      for (const [inner, count] of fieldsOf(partial))
        if (inner === 1 && typeof count === 'number') return count
  return 0
}

const RETRY_INFO = 'type.googleapis.com/google.rpc.RetryInfo'

/**
 * Seconds after which a `google.rpc.Status` asks to come again: `retry_delay` of the `RetryInfo` in its details
 * (google/rpc/error_details.proto). Undefined if it does not ask for it.
 */
export function retryDelay(status: Uint8Array): number | undefined {
  for (const [number, detail] of fieldsOf(status)) {
    if (number !== 3 || !(detail instanceof Uint8Array)) continue
    const [type, info] = [member(detail, 1), member(detail, 2)]
    if (!(type instanceof Uint8Array) || Buffer.from(type).toString() !== RETRY_INFO) continue
    const delay = info instanceof Uint8Array ? member(info, 1) : undefined
    if (!(delay instanceof Uint8Array)) return 0
    const [seconds, nanos] = [member(delay, 1) ?? 0, member(delay, 2) ?? 0]
    return typeof seconds === 'number' && typeof nanos === 'number' ? seconds + nanos / 1e9 : 0
  }
  return undefined
}

function member(message: Uint8Array, wanted: number): Uint8Array | number | undefined {
  for (const [number, value] of fieldsOf(message)) if (number === wanted) return value
  return undefined
}

/** Fields up to the first that is broken or of another type than varint and length-delimited. */
function* fieldsOf(bytes: Uint8Array): Generator<[number, Uint8Array | number]> {
  let at = 0
  const varint = (): number => {
    for (let value = 0, scale = 1; at < bytes.length && scale < 2 ** 56; scale *= 128) {
      const byte = bytes[at++]!
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
    at = bytes.length
    return 0
  }
  while (at < bytes.length) {
    const tag = varint()
    const type = tag % 8
    if (type !== 0 && type !== 2) return
    const value = varint()
    if (type === 2) at += value
    yield [Math.floor(tag / 8), type === 2 ? bytes.subarray(at - value, at) : value]
  }
}
