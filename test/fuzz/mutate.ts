/** Mutations of inputs: of bytes, of text with a dictionary, and of protobuf messages by their structure. */
import { WireReader, WireWriter } from '@rootspan/lineage/wire'

/** Numbers in [0, 1), the same from the same seed. */
export type Random = () => number

/** Mulberry32: small, and good enough to pick mutations. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** No input grows beyond this. */
export const MAX_INPUT = 64 * 1024

const EDGES = [0, 1, 0x0a, 0x12, 0x22, 0x2a, 0x32, 0x5b, 0x7b, 0x7f, 0x80, 0x81, 0xfe, 0xff]

export function below(limit: number, random: Random): number {
  return Math.floor(random() * limit)
}

export function pick<T>(list: readonly T[], random: Random): T {
  return list[below(list.length, random)]!
}

/** One to eight changes of `input`. `corpus` lends parts of other inputs, `tokens` words of the format. */
export function mutate(
  input: Uint8Array,
  corpus: readonly Uint8Array[],
  tokens: readonly Uint8Array[],
  random: Random,
): Uint8Array {
  let out = input
  for (let changes = 1 + Math.floor(-Math.log2(1 - random() * 0.99)); changes > 0; changes--)
    out = change(out, corpus, tokens, random)
  return out.length > MAX_INPUT ? out.slice(0, MAX_INPUT) : out
}

function change(
  input: Uint8Array,
  corpus: readonly Uint8Array[],
  tokens: readonly Uint8Array[],
  random: Random,
): Uint8Array {
  const at = below(input.length + 1, random)
  const size = Math.min(1 + below(1 << below(8, random), random), input.length - at)
  const none = new Uint8Array(0)
  switch (below(10, random)) {
    case 0: // a bit
      return put(input, at, (byte) => byte ^ (1 << below(8, random)))
    case 1: // a byte that often means something
      return put(input, at, () => pick(EDGES, random))
    case 2: // a length, off by a little
      return put(input, at, (byte) => byte + below(9, random) - 4)
    case 3: // any byte
      return put(input, at, () => below(256, random))
    case 4: // without a part
      return splice(input, at, size, none)
    case 5: // a part twice, or many times
      return splice(
        input,
        at,
        0,
        repeat(input.subarray(at, at + size), 1 + below(random() < 0.1 ? 64 : 2, random)),
      )
    case 6: // cut off
      return input.slice(0, at)
    case 7: {
      // a part of another input
      const other = pick(corpus, random)
      const from = below(other.length + 1, random)
      return splice(input, at, below(size + 1, random), other.subarray(from, from + 1 + below(64, random)))
    }
    case 8: // a word of the format
      return tokens.length === 0 ? input : splice(input, at, below(size + 1, random), pick(tokens, random))
    default: // a part elsewhere
      return splice(input, below(input.length + 1, random), 0, input.subarray(at, at + size))
  }
}

function put(input: Uint8Array, at: number, to: (byte: number) => number): Uint8Array {
  const out = input.slice()
  if (at < out.length) out[at] = to(out[at]!)
  return out
}

function splice(input: Uint8Array, at: number, remove: number, insert: Uint8Array): Uint8Array {
  const out = new Uint8Array(input.length - remove + insert.length)
  out.set(input.subarray(0, at))
  out.set(insert, at)
  out.set(input.subarray(at + remove), at + insert.length)
  return out
}

function repeat(part: Uint8Array, times: number): Uint8Array {
  const out = new Uint8Array(part.length * times)
  for (let i = 0; i < times; i++) out.set(part, i * part.length)
  return out
}

/**
 * One change of a protobuf message by its structure, lengths kept right all the way up: a field dropped, doubled,
 * moved, renumbered, wrapped in itself, or its value mutated. Bytes that do not parse come back mutated as bytes.
 */
export function mutateProtobuf(input: Uint8Array, corpus: readonly Uint8Array[], random: Random): Uint8Array {
  const fields = fieldsOf(input)
  if (fields === undefined || fields.length === 0) return mutate(input, corpus, [], random)
  const index = below(fields.length, random)
  const field = fields[index]!
  switch (random() < 0.6 && field.type === 2 ? 9 : below(8, random)) {
    case 0:
      fields.splice(index, 1)
      break
    case 1:
      fields.splice(below(fields.length, random), 0, field)
      break
    case 2:
      fields.splice(index, 1)
      fields.splice(below(fields.length + 1, random), 0, field)
      break
    case 3:
      fields[index] = {
        ...field,
        number: random() < 0.5 ? 1 + below(18, random) : pick([17, 31, 1000, 9999], random),
      }
      break
    case 4: {
      const wrapped = write([field])
      const depth = random() < 0.2 ? 40 : 1
      let value = wrapped
      for (let i = 1; i < depth; i++) value = write([{ number: field.number, type: 2, value }])
      fields[index] = { number: field.number, type: 2, value }
      break
    }
    case 5:
      if (field.type === 0) fields[index] = { ...field, value: varint(pick(NUMBERS, random)) }
      else fields[index] = { ...field, value: fixed(field, random) }
      break
    case 6: // cut off in the middle of a field, with the lengths around it right
      if (field.type === 2)
        fields[index] = { ...field, value: field.value.slice(0, below(field.value.length, random)) }
      break
    case 7:
      if (field.type === 2) fields[index] = { ...field, value: mutate(field.value, corpus, [], random) }
      break
    default:
      fields[index] = { ...field, value: mutateProtobuf(field.value, corpus, random) }
  }
  const out = write(fields)
  return out.length > MAX_INPUT ? input : out
}

const NUMBERS = [
  0n,
  1n,
  2n,
  127n,
  128n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
]

interface RawField {
  readonly number: number
  readonly type: number
  readonly value: Uint8Array
}

function fieldsOf(message: Uint8Array): RawField[] | undefined {
  const out: RawField[] = []
  try {
    const reader = new WireReader(message)
    while (reader.next()) out.push({ number: reader.field, type: reader.type, value: reader.value() })
  } catch {
    return undefined
  }
  return out
}

function write(fields: readonly RawField[]): Uint8Array {
  const out = new WireWriter()
  for (const { number, type, value } of fields)
    if (type === 2) out.bytes(number, value)
    else out.raw(varint(BigInt(number * 8 + type))).raw(value)
  return out.finish()
}

function fixed(field: RawField, random: Random): Uint8Array {
  if (field.type === 2) return mutate(field.value, [field.value], [], random)
  return field.value.map(() => pick(EDGES, random))
}

function varint(value: bigint): Uint8Array {
  const out: number[] = []
  let rest = value
  while (rest > 0x7fn) {
    out.push(Number(rest & 0x7fn) | 0x80)
    rest >>= 7n
  }
  out.push(Number(rest))
  return Uint8Array.from(out)
}
