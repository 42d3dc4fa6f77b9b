/**
 * Values over the bounds, and values of unusual kinds, in a process whose heap has no room for a copy of any of them: a heap
 * that is full ends a process, and no `try` helps.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const HEAP_MIB = 48
/** Of memory outside the heap, such as copies of buffers, and of time, for one value. The largest take a tenth of each. */
const MAX_GROWTH_MIB = 48
const MAX_MILLIS = 2000

/** Writes one value, given as an expression, in a process of its own. */
async function written(expression: string): Promise<string | undefined> {
  const code = `
    import { Blob } from 'node:buffer'
    import { createReadStream } from 'node:fs'
    import vm from 'node:vm'
    import { canonicalJson } from ${JSON.stringify(import.meta.resolve('./canonical.ts'))}
    const value = ${expression}
    gc()
    const [before, start] = [process.memoryUsage().rss, performance.now()]
    const text = canonicalJson(value)
    const [millis, growth] = [performance.now() - start, (process.resourceUsage().maxRSS * 1024 - before) / 2 ** 20]
    console.log(JSON.stringify({ text: text ?? null, length: text?.length, millis, growth }))`
  const flags = ['--no-warnings', '--expose-gc', `--max-old-space-size=${HEAP_MIB}`, '--input-type=module']
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, '--eval', code], {
    maxBuffer: 32 << 20,
  })
  const { text, millis, growth } = JSON.parse(stdout)
  expect(millis).toBeLessThan(MAX_MILLIS)
  expect(growth).toBeLessThan(MAX_GROWTH_MIB)
  return text ?? undefined
}

const PROXY_LENGTH = "{ get: (target, key) => key === 'length' ? LENGTH : target[key] }"

test.concurrent.each([
  ['a Buffer', 'Buffer.alloc(100 << 20)'],
  ['a Buffer just over the bound', 'Buffer.alloc((2 << 20) + 1)'],
  ['a Buffer within an object', '{ file: Buffer.alloc(100 << 20) }'],
  ['many Buffers below the bound', 'Array(1000).fill(Buffer.alloc(2 << 20))'],
  ['a typed array', 'new Float64Array(10 << 20)'],
  ['bytes in shared memory', 'new Uint8Array(new SharedArrayBuffer(100 << 20))'],
  ['bytes of another realm', "vm.runInNewContext('new Uint8Array(100 << 20)')"],
  ['a proxy of a typed array', 'new Proxy(new Uint16Array(50 << 20), {})'],
  ['a string', "'x'.repeat(400 << 20)"],
  ['a String object', "new String('x'.repeat(400 << 20))"],
  ['a name', "{ ['€'.repeat(10 << 20)]: 1 }"],
  ['a sparse array', 'Object.assign([], { length: 2 ** 32 - 1 })'],
  ['an array', 'Array(3e6).fill(0)'],
  ['a proxy that says that it is long', `new Proxy([], ${PROXY_LENGTH.replace('LENGTH', '2 ** 53')})`],
  [
    'numbered members',
    '(() => { const all = Object.create(null); for (let at = 0; at < 2e6; at++) all[at] = 0; return all })()',
  ],
  [
    'members that are numbered from 1',
    '(() => { const all = {}; for (let at = 1; at < 2e6; at++) all[at] = 0; return all })()',
  ],
  ['members', "(() => { const all = {}; for (let at = 0; at < 1e5; at++) all['k' + at] = 0; return all })()"],
  ['a Map', 'new Map(Array.from({ length: 2e5 }, (_, at) => [at, at]))'],
  ['a Set', 'new Set(Array(5e5).keys())'],
  ['a Set without end', 'new (class extends Set { *[Symbol.iterator]() { for (;;) yield 1 } })()'],
  ['a bigint', '1n << 150_000_000n'],
  ['depth', '(() => { let deep = 0; for (let at = 0; at < 1e5; at++) deep = [deep]; return deep })()'],
  ['breadth', '(() => { let wide = 0; for (let at = 0; at < 60; at++) wide = [wide, wide]; return wide })()'],
  [
    'members that JSON leaves out, met again and again',
    "(() => { const none = {}; for (let at = 0; at < 2e4; at++) none['k' + at] = undefined; return Array(2e4).fill(none) })()",
  ],
  ['`toJSON` without end', '(() => { const next = () => ({ toJSON: next }); return next() })()'],
])('over the bounds: %s', async (_, expression) => {
  expect(await written(expression)).toBeUndefined()
})

test.concurrent.each([
  ['an ArrayBuffer', 'new ArrayBuffer(100 << 20)', '{}'],
  ['shared memory', 'new SharedArrayBuffer(100 << 20)', '{}'],
  ['a DataView', 'new DataView(new ArrayBuffer(100 << 20))', '{}'],
  ['a Blob', 'new Blob([Buffer.alloc(20 << 20)])', '{}'],
  [
    '`toJSON` that gives its own object',
    '(() => { const own = { a: 1, toJSON: () => own }; return own })()',
    '{"a":1}',
  ],
  ['a proxy of a Buffer', 'new Proxy(Buffer.alloc(100 << 20), {})', '"[unreadable]"'],
  ['a typed array', 'new Float64Array([1, 0.5])', '{"0":1,"1":0.5}'],
  ['a member with the number of the bound', '{ 50000: 1 }', '{"50000":1}'],
  ['a sparse array', 'Object.assign([], { length: 3, 1: 1 })', '[null,1,null]'],
  [
    'a proxy that has no names to give',
    'new Proxy({}, { ownKeys() { throw new Error() } })',
    '"[unreadable]"',
  ],
  [
    'a proxy that was revoked',
    '(() => { const { proxy, revoke } = Proxy.revocable([], {}); revoke(); return proxy })()',
    '"[unreadable]"',
  ],
  [
    'a proxy whose length throws',
    "new Proxy([], { get(_, key) { if (key === 'length') throw new Error() } })",
    '"[unreadable]"',
  ],
])('within the bounds: %s', async (_, expression, text) => {
  expect(await written(expression)).toBe(text)
})

test.concurrent('a stream, whatever it holds, is no danger', async () => {
  await expect(written("createReadStream('/dev/null')")).resolves.toMatch(/^\{/)
})
