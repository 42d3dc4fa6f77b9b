import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
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
const directories: string[] = []

beforeEach(() => {
  lines = []
  const config = readConfig({ ROOTSPAN_FINGERPRINT_KEY: 'sixteen bytes and more' })
  const hooks = HOOKS.filter(({ library }) => library === 'jsonwebtoken' || library === 'express-jwt')
  ours = new RootspanInstrumentation(hooks, [], createRuntime(config, createLog('silent')))
  forget()
})

/** Has both loaded anew. */
function forget(): void {
  for (const path of Object.keys(require.cache))
    if (/[/\\](?:jsonwebtoken|express-jwt)[/\\]/.test(path)) delete require.cache[path]
}

/** The entry file of an application that depends on this library alone. */
async function applicationWith(library: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'rootspan-self-test-'))
  directories.push(directory)
  await writeFile(join(directory, 'package.json'), JSON.stringify({ dependencies: { [library]: '*' } }))
  await symlink(join(import.meta.dirname, '../../../node_modules'), join(directory, 'node_modules'), 'dir')
  return join(directory, 'app.cjs')
}

afterEach(async () => {
  other?.unhook()
  ours.disable()
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true })
})

const run = (entry: string): Promise<string[]> =>
  runSelfTest(
    ours,
    createRequire(entry),
    entry,
    createLog('info', (line) => lines.push(line)),
  )

test('a hook that nobody comes after is effective', async () => {
  ours.enable()
  expect(await run(await applicationWith('jsonwebtoken'))).toEqual([
    expect.stringMatching(/^jsonwebtoken@9\S+ effective$/),
  ])
  expect(lines.some((line) => line.includes('warning'))).toBe(false)
})

test('what a library brings along is named behind it', async () => {
  ours.enable()
  expect(await run(await applicationWith('express-jwt'))).toEqual([
    expect.stringMatching(/^express-jwt@8\S+ effective$/),
    expect.stringMatching(/^jsonwebtoken@9\S+ effective$/),
  ])
  expect(lines.some((line) => line.includes('warning'))).toBe(false)
})

test.each([
  ['hands out the original', (original: () => unknown) => original],
  ['puts its own in the place of it', () => () => 'unverified'],
])('another hook that comes after ours and %s: replaced', async (_, instead) => {
  const { verify } = require('jsonwebtoken')
  forget()
  ours.enable()
  other = new RequireHook(['jsonwebtoken'], (exports) => {
    return { ...(exports as object), verify: instead(verify) } as typeof exports
  })
  expect(await run(await applicationWith('jsonwebtoken'))).toEqual([
    expect.stringMatching(/^jsonwebtoken@9\S+ replaced$/),
  ])
  expect(lines.find((line) => line.includes('warning'))).toMatch(
    /not taken hold: jsonwebtoken@9\S+ replaced;/,
  )
})
