import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Hook as RequireHook } from 'require-in-the-middle'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readConfig } from './config.ts'
import { HOOKS } from './hooks/all.ts'
import { RootspanInstrumentation } from './hooks/install.ts'
import { createLog } from './log.ts'
import { createRuntime } from './runtime.ts'
import { runSelfTest } from './self-test.ts'

const ENTRY = join(import.meta.dirname, '../../../test/instrumentation/apps/jsonwebtoken.app.cjs')
const require = createRequire(ENTRY)

let lines: string[]
let ours: RootspanInstrumentation
let other: { unhook(): void } | undefined

beforeEach(() => {
  lines = []
  const config = readConfig({ ROOTSPAN_FINGERPRINT_KEY: 'sixteen bytes and more' })
  const hooks = HOOKS.filter(({ library }) => library === 'jsonwebtoken')
  ours = new RootspanInstrumentation(hooks, [], createRuntime(config, createLog('silent')))
  for (const path of Object.keys(require.cache)) if (path.includes('jsonwebtoken')) delete require.cache[path]
})

afterEach(() => {
  other?.unhook()
  ours.disable()
})

const run = (): Promise<string[]> =>
  runSelfTest(
    ours,
    require,
    ENTRY,
    createLog('info', (line) => lines.push(line)),
  )

test('a hook that nobody comes after is effective', async () => {
  ours.enable()
  expect(await run()).toEqual([expect.stringMatching(/^jsonwebtoken@9\S+ effective$/)])
  expect(lines.some((line) => line.includes('warning'))).toBe(false)
})

test.each([
  ['hands out the original', (original: () => unknown) => original],
  ['puts its own in the place of it', () => () => 'unverified'],
])('another hook that comes after ours and %s: replaced', async (_, instead) => {
  const { verify } = require('jsonwebtoken')
  for (const path of Object.keys(require.cache)) if (path.includes('jsonwebtoken')) delete require.cache[path]
  ours.enable()
  other = new RequireHook(['jsonwebtoken'], (exports) => {
    return { ...(exports as object), verify: instead(verify) } as typeof exports
  })
  expect(await run()).toEqual([expect.stringMatching(/^jsonwebtoken@9\S+ replaced$/)])
  expect(lines.find((line) => line.includes('warning'))).toMatch(
    /not taken hold: jsonwebtoken@9\S+ replaced;/,
  )
})
