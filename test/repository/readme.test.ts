/**
 * Runs what README.md tells a newcomer to type, in order, in a copy of the repository.
 *
 * The convention: every fenced block marked `sh` or `console` is run by `bash -e`, all of them in one directory. Of
 * a `console` block only lines after `$ ` are commands. A block marked in another way, `text` or `bash`, is not run.
 * What cannot be run as it stands is in the two tables below: commands that somebody else runs, and commands that
 * go on until they are stopped. `TRACE_ID` is the newest execution of the service in the README, once it is signed.
 * The reader's own `app.js` is a program that makes one request.
 */
import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { packages, root } from '../../scripts/workspace.ts'
import { cleanUp, makeDirectory, type Running, runProgram, startProgram, waitFor } from '../e2e/process.ts'

/** Commands that are not run here, and why. */
const NOT_HERE: readonly (readonly [RegExp, string])[] = [
  [/^npm ci$/, 'whoever runs this test has; .ci/run does in a clean checkout'],
  [/^npm install /, 'it is installed for the tests'],
  [/^npm test$/, 'this is it'],
]

/** Commands that are left running, and what they say when they are ready. */
const LONG_RUNNING: readonly (readonly [RegExp, RegExp])[] = [[/^npm start$/, /"msg":"running"/]]

const PORTS = [4317, 4318, 4320]
const API = 'http://127.0.0.1:4320'

const blocks = readBlocks(await readFile(join(root, 'README.md'), 'utf8'))
const taken = (await Promise.all(PORTS.map(findTaken))).filter((port) => port !== undefined)
const canRun = taken.length === 0 || process.env.CI !== undefined
if (!canRun)
  console.warn(
    `SKIPPED: the README is not tried, since port ${taken.join(', ')} is taken. Free it and try again.`,
  )

let copy: string
const started: Running[] = []

beforeAll(async () => {
  if (!canRun) return
  copy = await makeDirectory()
  await copyRepository(copy)
  await writeFile(join(copy, 'app.js'), `await (await fetch('${API}/health/live')).text()\n`)
}, 120_000)

afterAll(async () => {
  for (const one of started) one.signal('SIGINT')
  for (const one of started) await one.ends()
  await cleanUp()
}, 120_000)

test('the README has what a newcomer needs', () => {
  const all = blocks.flatMap(({ commands }) => commands)
  for (const command of ['npm ci', 'npm start', 'npm run first-trace', 'npm test'])
    expect(all).toContain(command)
})

test.runIf(canRun).each(blocks)('line $line: $title', { timeout: 180_000 }, async ({ commands }) => {
  const rest: string[] = []
  for (const command of commands) {
    if (NOT_HERE.some(([pattern]) => pattern.test(command))) continue
    const ready = LONG_RUNNING.find(([pattern]) => pattern.test(command))?.[1]
    if (ready === undefined) rest.push(command)
    else {
      expect(rest, 'what comes before a command that goes on would be run after it').toEqual([])
      const running = startProgram('bash', ['-c', command], options(command, { group: true }))
      started.push(running)
      await running.says(ready)
    }
  }
  if (rest.length === 0) return
  const script = rest.join('\n')
  const env: Record<string, string> = script.includes('$TRACE_ID')
    ? { TRACE_ID: await newestExecution(script) }
    : {}
  const { code, stdout, stderr } = await runProgram('bash', ['-euo', 'pipefail', '-c', script], {
    ...options(script),
    env: { ...options(script).env, ...env },
    millis: 120_000,
  })
  expect(code, `${script}\n${stdout}\n${stderr}`).toBe(0)
})

function options(name: string, more: { group?: boolean } = {}) {
  // npx must find what is here, and never fetch a stranger's package of that name.
  return { cwd: copy, name, env: { PATH: pathOf(copy), npm_config_offline: 'true' }, ...more }
}

function pathOf(directory: string): string {
  return `${join(directory, 'node_modules', '.bin')}:${process.env.PATH}`
}

/** Waits for the trace of the README's service, which has a name that the blocks before this one gave it. */
async function newestExecution(script: string): Promise<string> {
  const service = /OTEL_SERVICE_NAME=(\S+)/.exec(blocks.flatMap(({ commands }) => commands).join('\n'))?.[1]
  return waitFor(`an execution of ${service} for\n${script}\n`, async () => {
    const answer = await fetch(`${API}/api/v1/executions?service=${service}`)
    const { executions } = (await answer.json()) as {
      executions: { traceId: string; signedSegments: number }[]
    }
    return executions.find(({ signedSegments }) => signedSegments > 0)?.traceId
  })
}

interface Block {
  /** Where it begins in the file, from 1. */
  readonly line: number
  readonly title: string
  /** Continued lines joined, comment lines left out. */
  readonly commands: readonly string[]
}

function readBlocks(text: string): Block[] {
  return [...text.matchAll(/^```(sh|console)\n(.*?)^```$/gms)].map((match) => {
    const lines = match[2]!.replaceAll('\\\n', ' ').split('\n')
    const typed =
      match[1] === 'sh' ? lines : lines.flatMap((line) => (line.startsWith('$ ') ? [line.slice(2)] : []))
    const commands = typed.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))
    return { line: text.slice(0, match.index).split('\n').length, title: commands[0] ?? '', commands }
  })
}

/** Everything under version control but the tests, with the dependencies that are installed here. */
async function copyRepository(target: string): Promise<void> {
  const { stdout } = await runProgram('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'])
  for (const file of stdout.split('\0')) {
    if (file === '' || file.startsWith('test/') || file.startsWith('docs/')) continue
    await mkdir(dirname(join(target, file)), { recursive: true })
    // A file may be gone from the tree and not from the index.
    await cp(join(root, file), join(target, file)).catch(() => undefined)
  }
  const [from, to] = [join(root, 'node_modules'), join(target, 'node_modules')]
  await mkdir(join(to, '@rootspan'), { recursive: true })
  for (const name of await readdir(from))
    if (name !== '@rootspan') await symlink(join(from, name), join(to, name))
  for (const name of packages) await symlink(join(target, 'packages', name), join(to, '@rootspan', name))
}

/** The port, if somebody listens there. */
async function findTaken(port: number): Promise<number | undefined> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(port))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(undefined)))
  })
}
