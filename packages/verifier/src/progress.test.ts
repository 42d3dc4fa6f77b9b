/** The bar of an audit, seen from outside: the real command in its own process, on a stream that says it is a terminal. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TestLog } from '../../../test/support/executions.ts'
import { type LogServer, serveLog } from '../../../test/support/log-server.ts'

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url))
/** Not every machine has a pseudo terminal to give; all that is asked of one is this. */
const TERMINAL = `data:text/javascript,${encodeURIComponent(
  "Object.defineProperty(process.stderr, 'isTTY', { value: true }); process.stderr.columns = 100",
)}`
/** The third bundle of entries, which the server holds back until a test lets go of it. */
const HELD = 'tile/entries/002'

/** What was checked before the bundle that is held back, and how fast. */
const HALF_WAY = /█+░+ 5\d% {2}512 of 1,000 records {2}[1-9][\d,]*\/s {2}\S+ left/u
const ESCAPES = '\u001b['
const COLOR = new RegExp(`${ESCAPES.replace('[', '\\[')}[\\d;]*m`)

let directory: string
let policy: string
let server: LogServer
let letGo = Promise.withResolvers<void>()

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rootspan-progress-'))
  policy = join(directory, 'log.policy')
  const log = new TestLog()
  while (log.size < 1000) log.settle(log.size + 1, [[{ id: 1 }]])
  log.checkpoint()
  await writeFile(policy, log.policyText)
  const bytes = log.files().get(HELD)!
  server = await serveLog(log, {
    intercept(path, _request, response) {
      if (path === HELD) void letGo.promise.then(() => response.end(bytes))
      return path === HELD
    },
  })
})

afterAll(async () => {
  await server.close()
  await rm(directory, { recursive: true })
})

/** An audit that has come to the bundle that is held back. */
class Auditing {
  readonly child: ChildProcessByStdio<null, Readable, Readable>
  out = ''
  err = ''

  constructor({ terminal, env }: { terminal: boolean; env?: Record<string, string> }) {
    letGo = Promise.withResolvers()
    const { NO_COLOR: _, FORCE_COLOR: __, TERM: ___, ...rest } = process.env
    this.child = spawn(
      process.execPath,
      [
        '--conditions=source',
        ...(terminal ? ['--import', TERMINAL] : []),
        ...[MAIN, 'audit', server.url, '--policy', policy],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...rest, TERM: 'xterm', ...env } },
    )
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => (this.out += text))
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => (this.err += text))
  }

  async says(what: RegExp): Promise<void> {
    while (!what.test(this.err)) await once(this.child.stderr, 'data')
  }

  async end(): Promise<{ code: number | null; signal: string | null }> {
    letGo.resolve()
    const [code, signal] = await once(this.child, 'close')
    return { code, signal }
  }
}

test('an audit on a terminal shows a bar and a rate, and takes them away when it is done', async () => {
  const auditing = new Auditing({ terminal: true })
  await auditing.says(HALF_WAY)
  expect(await auditing.end()).toEqual({ code: 0, signal: null })
  // After the last frame comes the clearing of its line, and nothing else that could be read.
  expect(auditing.err.slice(auditing.err.lastIndexOf('left'))).toContain(`${ESCAPES}2K`)
  expectRestored(auditing)
  expect(auditing.out).toMatch(/^VERIFIED .*\n[\s\S]* rate +[\d,]+ records\/s, /)
  expect(auditing.out).not.toContain(ESCAPES)
})

test('nothing of it is written where there is no terminal, or one that cannot move its cursor', async () => {
  for (const how of [{ terminal: false }, { terminal: true, env: { TERM: 'dumb' } }]) {
    const auditing = new Auditing(how)
    expect(await auditing.end()).toEqual({ code: 0, signal: null })
    expect(auditing.err).toBe('')
    expect(auditing.out).toContain('records/s')
  }
})

test('NO_COLOR takes colors, not the bar', async () => {
  const auditing = new Auditing({ terminal: true, env: { NO_COLOR: '1', FORCE_COLOR: '1' } })
  await auditing.says(HALF_WAY)
  expect(await auditing.end()).toEqual({ code: 0, signal: null })
  expect(auditing.err + auditing.out).not.toMatch(COLOR)
})

test.skipIf(process.platform === 'win32')('a signal ends it, and leaves the terminal as it was', async () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const auditing = new Auditing({ terminal: true })
    await auditing.says(HALF_WAY)
    auditing.child.kill(signal)
    const [code, by] = await once(auditing.child, 'close')
    expect({ code, by }).toEqual({ code: null, by: signal })
    expectRestored(auditing)
    expect(auditing.out).toBe('')
    letGo.resolve()
  }
})

/** The cursor is shown again, and lines wrap again. */
function expectRestored({ err }: Auditing): void {
  for (const [off, on] of [
    [`${ESCAPES}?25l`, `${ESCAPES}?25h`],
    [`${ESCAPES}?7l`, `${ESCAPES}?7h`],
  ] as const) {
    expect(err.lastIndexOf(off)).toBeGreaterThanOrEqual(0)
    expect(err.lastIndexOf(on)).toBeGreaterThan(err.lastIndexOf(off))
  }
}
