/** The program as a program: started, used, stopped, and put back to an old copy of its data. */
import { type ChildProcess, spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { firstTraceCommand, formatBanner } from './run.ts'

const PROGRAM = fileURLToPath(new URL('../main.cts', import.meta.url))

let directory: string
const running = new Set<ChildProcess>()

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rootspan-run-'))
})

afterEach(() => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(directory, { recursive: true, force: true })
})

interface Program {
  readonly child: ChildProcess
  readonly output: () => string
  readonly exit: Promise<number | null>
}

function start(...args: string[]): Program {
  const child = spawn(process.execPath, ['--conditions=source', PROGRAM, ...args], { cwd: directory })
  running.add(child)
  let output = ''
  child.stdout.on('data', (data) => (output += data))
  child.stderr.on('data', (data) => (output += data))
  const exit = new Promise<number | null>((resolve) =>
    child.once('exit', (code) => {
      running.delete(child)
      resolve(code)
    }),
  )
  return { child, exit, output: () => output }
}

interface Running extends Program {
  readonly http: string
  readonly api: string
}

async function startCollector(): Promise<Running> {
  const any = '127.0.0.1:0'
  const program = start(
    'run',
    '--init',
    '--quiet-period',
    '100ms',
    '--grpc',
    any,
    '--http',
    any,
    '--api',
    any,
  )
  const ended = program.exit.then((code) => {
    throw new Error(`ended with ${code}: ${program.output()}`)
  })
  ended.catch(() => {})
  for (;;) {
    const line = program
      .output()
      .split('\n')
      .find((line) => line.includes('"msg":"running"'))
    if (line !== undefined) return { ...program, ...JSON.parse(line) }
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 50))])
  }
}

async function sendTrace({ http, api }: Running): Promise<string> {
  const program = start('first-trace', '--http', http, '--api', api, '--timeout', '20')
  expect(await program.exit, program.output()).toBe(0)
  return program.output()
}

async function stop(program: Running): Promise<void> {
  program.child.kill('SIGTERM')
  expect(await program.exit, program.output()).toBe(0)
}

test('runs, takes a first trace, shows it verified, stops; and does not go on from an old copy', async () => {
  const first = await startCollector()
  expect(first.output()).toContain('made a new log')
  const seen = await sendTrace(first)
  expect(seen).toMatch(/^sent {6}3 spans of trace [0-9a-f]{32}, durable at journal position \d+$/m)
  expect(seen).toMatch(/^verified {2}\d+ records in /m)
  for (const name of [
    'POST /refunds',
    'authorization',
    'evaluate refunds/allow',
    'decision',
    'POST /payments/refund',
  ])
    expect(seen).toContain(name)
  expect(seen).toMatch(/integrity +verified/)
  expect(seen).toContain("the collector's own word for its own key")
  await stop(first)

  cpSync(join(directory, 'rootspan-data'), join(directory, 'old'), { recursive: true })
  const second = await startCollector()
  expect(second.output()).not.toContain('made a new log')
  await sendTrace(second)
  await stop(second)

  renameSync(join(directory, 'rootspan-data'), join(directory, 'new'))
  renameSync(join(directory, 'old'), join(directory, 'rootspan-data'))
  const third = start('run')
  expect(await third.exit).toBe(1)
  expect(third.output()).toMatch(
    /not signing\. This store has \d+ leaves, but \d+ leaves were signed already/,
  )
  expect(third.output()).toContain('Put the newest data directory back')

  rmSync(join(directory, 'rootspan-data'), { recursive: true })
  renameSync(join(directory, 'new'), join(directory, 'rootspan-data'))
  await stop(await startCollector())
  const fsck = start('fsck')
  expect(await fsck.exit, fsck.output()).toBe(0)

  const log = join(directory, 'rootspan-data', 'log.json')
  writeFileSync(log, readFileSync(log, 'utf8').replace('created', 'creatde'))
  const broken = start('fsck', '--json')
  expect(await broken.exit, broken.output()).toBe(1)
  expect(JSON.parse(broken.output()).problems[0].where).toContain('log.json')
}, 120_000)

test('first-trace says when nobody is there', async () => {
  const program = start('first-trace', '--http', '127.0.0.1:9', '--api', '127.0.0.1:10')
  expect(await program.exit).toBe(1)
  expect(program.output()).toContain('nobody answers at http://127.0.0.1:9/v1/traces')
})

test('the banner names every door, and the line to type', () => {
  const io = { stdout: { write: () => {} }, stderr: { write: () => {} }, env: {} }
  const identity = { origin: 'a/v0', key: 'a/v0+00000000+AA==', created: '' }
  const endpoints = { grpc: '127.0.0.1:4317', http: '127.0.0.1:4318', api: '127.0.0.1:4320' }
  const banner = formatBanner(endpoints, identity, io)
  for (const text of [
    '127.0.0.1:4317',
    'http://127.0.0.1:4318',
    'http://127.0.0.1:4320',
    'a/v0',
    identity.key,
    'first-trace\n',
  ])
    expect(banner).toContain(text)
  expect(firstTraceCommand({ ...endpoints, http: '127.0.0.1:5' })).toMatch(
    /first-trace -- --http 127.0.0.1:5$/,
  )
  expect(firstTraceCommand({ grpc: 'x' })).toBeUndefined()
})
