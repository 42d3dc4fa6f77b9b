import { expect, test } from 'vitest'
import { canonicalJson } from './canonical.ts'
import { createSecrets, digestOf } from './secrets.ts'

test('a fingerprint is HMAC-SHA256: RFC 4231, test case 2', () => {
  expect(createSecrets(Buffer.from('Jefe')).fingerprint('what do ya want for nothing?')).toBe(
    'hmac-sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
  )
})

test('a digest is SHA-256: FIPS 180-2, B.1', () => {
  expect(digestOf('abc')).toBe('sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
})

test('without a key every set of secrets has one of its own', () => {
  expect(createSecrets().fingerprint('x')).not.toBe(createSecrets().fingerprint('x'))
})

test('a commitment does not depend on the order of members', () => {
  const secrets = createSecrets()
  expect(secrets.commit({ a: 1, b: [2, { c: 3, d: 4 }] })).toBe(
    secrets.commit({ b: [2, { d: 4, c: 3 }], a: 1 }),
  )
  expect(secrets.commit({ a: 1 })).not.toBe(secrets.commit({ a: '1' }))
})

test('canonical JSON: RFC 8785, 3.2.2 and 3.2.3', () => {
  const value = {
    numbers: [Number('333333333.33333329'), 1e30, 4.5, 2e-3, 0.000000000000000000000000001],
    string: '\u20ac$\u000f\u000aA\'\u0042\u0022\u005c\\"/',
    literals: [null, true, false],
  }
  expect(canonicalJson(value)).toBe(
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
  )
  const keys = { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\ud83d\ude00': 5, '\u0080': 6, '\u00f6': 7 }
  expect([...canonicalJson(keys)!.matchAll(/:(\d)/g)].map((match) => match[1]).join('')).toBe('2467153')
})

test('canonical JSON is what JSON writes, with the members sorted, whatever their number and length', () => {
  const units = ['a', 'B', ' ', '~', '"', '\\', '\n', '\u007f', 'é', '€', '\u{1f600}']
  let state = 7
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  const text = (length: number): string =>
    Array.from({ length }, () => units[random(random(3) === 0 ? units.length : 4)]).join('')
  const make = (depth: number): unknown => {
    if (depth === 0) return [text(random(60)), random(1000) / 8, true, null][random(4)]
    if (random(3) === 0) return Array.from({ length: random(5) }, () => make(depth - 1))
    const keys = Array.from({ length: random(14) }, () => `k${text(random(6))}`)
    return Object.fromEntries(keys.map((key) => [key, make(depth - 1)]))
  }
  const sorted = (_: string, value: unknown): unknown =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value
  for (let time = 0; time < 300; time++) {
    const value = make(3)
    expect(canonicalJson(value)).toBe(JSON.stringify(value, sorted))
  }
})

test('what JSON has no word for', () => {
  const cyclic: { self?: unknown } = {}
  cyclic.self = cyclic
  const shared = { x: 1 }
  const throwing = {
    get no() {
      throw new Error()
    },
  }
  expect(canonicalJson(cyclic)).toBe('{"self":"[circular]"}')
  expect(canonicalJson([shared, shared])).toBe('[{"x":1},{"x":1}]')
  expect(canonicalJson(throwing)).toBe('{"no":"[unreadable]"}')
  expect(canonicalJson([undefined, () => 1, Number.NaN, 10n])).toBe('[null,null,"NaN","10"]')
  expect(canonicalJson(new Map([['a', new Set([1])]]))).toBe('[["a",[1]]]')
  expect(canonicalJson({ at: new Date(0), no: undefined })).toBe('{"at":"1970-01-01T00:00:00.000Z"}')
  expect(canonicalJson(Buffer.from('hi'))).toBe('"aGk="')
})

test('too deep, too many, too long: no text', () => {
  let deep: unknown = 0
  for (let at = 0; at < 100; at++) deep = [deep]
  expect(canonicalJson(deep)).toBeUndefined()
  expect(canonicalJson(Array(60_000).fill(0))).toBeUndefined()
  expect(canonicalJson('x'.repeat(5 << 20))).toBeUndefined()
  const endless = (): object => ({ toJSON: endless })
  expect(canonicalJson(endless())).toBeUndefined()
})
