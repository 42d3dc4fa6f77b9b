/** What the makers of these vectors share: hashes, protobuf by hand, and how the files are written. */
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'

type Part = string | Uint8Array

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
export const bytesOf = (text: string): Buffer => Buffer.from(text, 'hex')
export const sha = (...parts: Part[]): Buffer => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}
export const u16 = (value: number): Buffer => Buffer.from([value >>> 8, value & 255])
export const u32 = (value: number): Buffer => Buffer.from([value >>> 24, value >>> 16, value >>> 8, value])
export const sized = (bytes: Uint8Array): Buffer => Buffer.concat([u32(bytes.length), bytes])

export function varint(value: number | bigint): string {
  const out: number[] = []
  let rest = BigInt(value)
  while (rest > 0x7fn) {
    out.push(Number(rest & 0x7fn) | 0x80)
    rest >>= 7n
  }
  return hex(Uint8Array.from([...out, Number(rest)]))
}
export const number = (field: number, value: number | bigint): string => varint(field * 8) + varint(value)
export const field = (number: number, value: string | Uint8Array): string => {
  const text = typeof value === 'string' ? value : hex(value)
  return varint(number * 8 + 2) + varint(text.length / 2) + text
}
export const fixed64 = (number: number, value: bigint): string => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return varint(number * 8 + 1) + hex(bytes)
}
export const text = (number: number, value: string): string => field(number, Buffer.from(value))

/** One case a line, so that a change shows up as one line. */
export function write(name: string, value: readonly unknown[] | Record<string, readonly unknown[]>): void {
  const list = (cases: readonly unknown[], indent: string): string =>
    `[\n${cases.map((item) => `${indent}  ${JSON.stringify(item)}`).join(',\n')}\n${indent}]`
  const json = Array.isArray(value)
    ? list(value, '')
    : `{\n${Object.entries(value as Record<string, readonly unknown[]>)
        .map(([key, cases]) => `  ${JSON.stringify(key)}: ${list(cases, '  ')}`)
        .join(',\n')}\n}`
  const target = process.argv[2] ?? new URL('.', import.meta.url).pathname
  writeFileSync(`${target}/${name}.json`, `${json}\n`)
}
