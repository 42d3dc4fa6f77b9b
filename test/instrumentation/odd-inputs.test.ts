/**
 * Values that nobody expects, given to each library that is hooked: cyclic, huge, proxies, getters that throw. The same
 * program runs without the register flag, and every answer has to be the same; the records say what could be known.
 */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { findServer, startOpa } from './servers.ts'
import {
  type Application,
  fingerprint,
  recordsOf,
  select,
  startQuickCollector,
  startService,
} from './support.ts'

const FILE = join(import.meta.dirname, 'apps', 'odd-inputs.app.mjs')
/** A copy of all that is handed over at once would not fit. */
const HEAP = '--max-old-space-size=256'

const opa = findServer('opa')
const POLICY = 'package orders\n\ndefault allow := false\n\nallow if input.id == "alice"\n'

let collector: CollectorProcess
let hooked: Application
let bare: Application

beforeAll(async () => {
  collector = await startQuickCollector()
  const server = opa === undefined ? undefined : await startOpa(opa, POLICY, 'release-41')
  const env = { OPA: server?.url ?? 'http://127.0.0.1:2', NODE_OPTIONS: HEAP }
  hooked = await startService(collector, { name: 'odd-inputs', file: FILE, env })
  bare = await startService(collector, { name: 'bare', file: FILE, env, flags: [] })
}, 60_000)

afterAll(async () => {
  await hooked?.stop()
  await bare?.stop()
  await collector?.stop()
  await cleanUp()
})

const ODD = ['plain', 'cyclic', 'broken', 'revoked', 'strict', 'getter', 'getter of id', 'bare'] as const
const LARGE = ['array', 'object', 'string'] as const
const ALL = [...ODD, ...LARGE, 'buffer'] as const

interface Case {
  readonly route: string
  /** Left out are those that a library itself makes into text or copies at great length. */
  readonly values: readonly string[]
  /** Of record that it leaves. */
  readonly kind: string
  /** Values for which it leaves none: the library, or what stands before it, fails before it is asked. */
  readonly none?: readonly string[]
}

const CASES: readonly Case[] = [
  { route: 'casbin', values: ALL, kind: 'decision' },
  { route: 'casbin resource', values: ALL, kind: 'decision' },
  { route: 'casl', values: ALL, kind: 'decision' },
  { route: 'cedar', values: ODD, kind: 'decision' },
  { route: 'cedar principal', values: ODD, kind: 'decision' },
  { route: 'cedar call', values: ODD, kind: 'decision' },
  { route: 'jsonwebtoken', values: ALL, kind: 'verification' },
  { route: 'jsonwebtoken options', values: ODD, kind: 'verification' },
  { route: 'jsonwebtoken key', values: ALL, kind: 'verification' },
  { route: 'jose', values: ALL, kind: 'verification' },
  { route: 'jose options', values: ODD, kind: 'verification' },
  { route: 'jose claims', values: ['plain', 'bare', ...LARGE], kind: 'verification' },
  { route: 'mcp', values: ALL, kind: 'action' },
  { route: 'mcp parameters', values: ODD, kind: 'action', none: ['broken', 'revoked', 'strict'] },
  { route: 'passport', values: ALL, kind: 'verification' },
  { route: 'passport info', values: ALL, kind: 'verification' },
  { route: 'governedAction', values: [...ALL, 'file'], kind: 'action' },
  { route: 'recordDecision', values: [...ALL, 'file'], kind: 'decision' },
  {
    route: 'authzen',
    values: ALL,
    kind: 'decision',
    none: ['cyclic', 'broken', 'revoked', 'getter', 'getter of id'],
  },
  { route: 'opa', values: [...ODD, ...LARGE], kind: 'decision', none: ['broken', 'revoked', 'strict'] },
]

test.each(opa === undefined ? CASES.filter(({ route }) => route !== 'opa') : CASES)(
  '$route',
  {
    timeout: 60_000,
  },
  async ({ route, values, kind, none = [] }) => {
    const seen = await Promise.all(
      values.map(async (value) => {
        const path = `/${encodeURIComponent(route)}?value=${encodeURIComponent(value)}`
        const [answer, expected] = await Promise.all([hooked.request(path), bare.request(path)])
        const records = await recordsOf(collector, answer, { isQuiet: true })
        return {
          value,
          answer: answer.body,
          expected: expected.body,
          found: select(records, kind).length > 0,
        }
      }),
    )
    expect(seen.map(({ value, answer }) => [value, answer])).toEqual(
      seen.map(({ value, expected }) => [value, expected]),
    )
    expect(seen.filter(({ value, found }) => !found && !none.includes(value))).toEqual([])
  },
)

test('an action keeps its record whatever its arguments are, and says what is not in it', async () => {
  const actionOf = async (value: string) => {
    const answer = await hooked.request(`/governedAction?value=${value}`)
    const [action] = select(await recordsOf(collector, answer), 'action')
    return action!.claims
  }
  const file = await actionOf('file')
  expect(file).toMatchObject({ 'action.name': 'odd', 'action.outcome': 'success' })
  expect(file['action.arguments.commitment']).toBeUndefined()
  expect((await actionOf('cyclic'))['action.arguments.commitment']).toBe(
    fingerprint('{"all":["[circular]"],"id":"alice","self":"[circular]"}'),
  )
  expect((await actionOf('getter'))['action.arguments.commitment']).toBe(
    fingerprint('{"id":"alice","secret":"[unreadable]"}'),
  )
  expect((await actionOf('broken'))['action.arguments.commitment']).toBe(fingerprint('"[unreadable]"'))
})

test('a user of whom not everything can be read is known by what can', async () => {
  const answer = await hooked.request('/passport?value=getter')
  const [artifact] = select(await recordsOf(collector, answer), 'authorization')
  expect(artifact!.claims['authorization.subject']).toBe(fingerprint('alice'))
})
