/**
 * Runs every snippet of docs/instrument and of the package's README, page by page and in the order of the page.
 *
 * The convention is in a fenced block's first line, and each page has a directory of its own:
 *
 *     ```js app.mjs                       a file of that name, so that later blocks can use it
 *     ```js run                           a program: run by Node under the register flag, and must end with 0
 *     ```sh run                           commands: run by `bash -euo pipefail`, and must end with 0
 *     ```sh run until="listening on"      the same, left running once it has said so; ended after the page
 *     ```sh run retry                     the same, again and again until it succeeds: the log takes a moment
 *
 * `sh` blocks of nothing but `npm install` are not run: what they name must be installed here. Other languages are not
 * run, and `js`, `ts`, `sh` and `console` must be: what cannot run is `text`. In the environment are a collector
 * (`OTEL_EXPORTER_OTLP_ENDPOINT`, and `ROOTSPAN_API` for its API), a free `PORT`, and all that is installed here.
 *
 * A page may say in a comment what it needs and what it is to leave in the log:
 *
 *     <!-- needs: opa -->                 commands in the PATH (or variables, in capitals); else skipped aloud. For
 *                                         `spicedb` its engine stands in where the server is not there: no CI builds it
 *     <!-- run by: test/x.test.ts -->     a test of its own runs all of its blocks, and not this one
 *     <!-- records: authorization decision(outcome=deny) -->
 */
import { existsSync } from 'node:fs'
import { glob, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { root } from '../../scripts/workspace.ts'
import { cleanUp, type Ended, makeDirectory, type Running, startProgram, waitFor } from '../e2e/process.ts'
import type { CollectorProcess, ExecutionSummary } from '../e2e/support.ts'
import { recordsOf, type Shown, startQuickCollector } from '../instrumentation/support.ts'
import { freePort } from '../support/port.ts'

const PAGES = ['docs/instrument/**/*.md', 'packages/instrumentation/README.md']
/** Programs of ours for commands that are not in the PATH. */
const STAND_INS: ReadonlyMap<string, string> = new Map([
  ['spicedb', 'test/instrumentation/apps/spicedb.child.mjs'],
])
const RUNNABLE = new Set(['js', 'ts', 'sh'])
/** Languages in which a newcomer would take a block for something to run. */
const CODE = new Set([...RUNNABLE, 'javascript', 'typescript', 'mjs', 'cjs', 'bash', 'shell', 'console'])

interface Block {
  /** Where it begins in the file, from 1. */
  readonly line: number
  readonly language: string
  readonly file: string | undefined
  readonly isRun: boolean
  readonly until: RegExp | undefined
  readonly isRetried: boolean
  readonly text: string
}

interface Page {
  /** From the root of the repository. */
  readonly path: string
  readonly blocks: readonly Block[]
  readonly needs: readonly string[]
  readonly runBy: readonly string[]
  readonly records: readonly (readonly [kind: string, claims: Record<string, string>])[]
}

const pages = await readPages()

let collector: CollectorProcess

beforeAll(async () => {
  collector = await startQuickCollector()
})

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

test('there are pages, and some of their snippets run', () => {
  expect(pages.map(({ path }) => path)).toEqual(
    expect.arrayContaining(['docs/instrument/five-minutes.md', 'packages/instrumentation/README.md']),
  )
  expect(pages.flatMap(({ blocks }) => blocks).filter(({ isRun }) => isRun).length).toBeGreaterThan(3)
})

test('a block that looks as if it ran is run, is a file of the page, or installs what is installed', async () => {
  const wrong: string[] = []
  const ranElsewhere = new Set<string>()
  for (const { path, runBy } of pages)
    for (const file of runBy) {
      expect(await readFile(join(root, file), 'utf8')).toContain(path)
      ranElsewhere.add(path)
    }
  for (const { path, blocks } of pages)
    for (const { line, language, isRun, file, text } of ranElsewhere.has(path) ? [] : blocks) {
      if (isRun ? RUNNABLE.has(language) : !CODE.has(language) || file !== undefined) continue
      const missing = installs(text)?.filter((name) => !isInstalled(name))
      if (missing === undefined || isRun)
        wrong.push(`${path}:${line}: mark it "run", name its file, or make it "text"`)
      else if (missing.length > 0) wrong.push(`${path}:${line}: not installed here: ${missing.join(', ')}`)
    }
  expect(wrong).toEqual([])
})

test('links between pages lead somewhere', async () => {
  const wrong: string[] = []
  for (const { path } of pages) {
    const text = await readFile(join(root, path), 'utf8')
    for (const [, target] of text.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g))
      if (!existsSync(join(root, path, '..', target!))) wrong.push(`${path}: ${target}`)
  }
  expect(wrong).toEqual([])
})

for (const { path, blocks, needs, records } of pages) {
  const missing = needs.filter((need) => !isThere(need) && !STAND_INS.has(need))
  const isRun = blocks.some((block) => block.isRun)
  if (missing.length > 0)
    console.warn(`SKIPPED: ${path} is not tried without ${missing.join(', ')}, which it needs.`)
  describe.runIf(isRun && missing.length === 0)(path, () => {
    const [, named] =
      /^(?:export )?OTEL_SERVICE_NAME=(\S+)/m.exec(blocks.map(({ text }) => text).join('')) ?? []
    const service = named ?? path.replaceAll(/\W+/g, '-')
    const started: Running[] = []
    let directory: string
    let env: Record<string, string>

    beforeAll(async () => {
      directory = await makeProject()
      env = {
        PATH: [join(directory, 'node_modules', '.bin'), process.env.PATH].join(delimiter),
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.http,
        OTEL_SERVICE_NAME: service,
        OTEL_METRICS_EXPORTER: 'none',
        OTEL_LOGS_EXPORTER: 'none',
        OTEL_NODE_RESOURCE_DETECTORS: 'env',
        OTEL_BSP_SCHEDULE_DELAY: '100',
        ROOTSPAN_API: collector.api,
        ROOTSPAN_FINGERPRINT_KEY: 'a key for the snippets of the docs',
        PORT: String(await freePort(2)),
        npm_config_offline: 'true',
      }
    })

    afterAll(async () => {
      for (const one of started) one.signal('SIGTERM')
      for (const one of started) await one.ends()
    })

    test.each(blocks.filter(({ isRun, file }) => isRun || file !== undefined))(
      'line $line: $language',
      async ({ line, language, file, isRun, isRetried, until, text }) => {
        const isShell = language === 'sh'
        const name = file ?? `snippet-${line}.${isShell ? 'sh' : `m${language}`}`
        await writeFile(join(directory, name), text)
        if (!isRun) return
        const command = isShell ? 'bash' : process.execPath
        const args = isShell
          ? ['-euo', 'pipefail', name]
          : ['--import', '@rootspan/instrumentation/register', name]
        const start = () => startProgram(command, args, { cwd: directory, env, name, group: true })
        if (until !== undefined) {
          const running = start()
          started.push(running)
          await running.says(until)
          return
        }
        let ended: Ended
        const giveUp = Date.now() + 30_000
        do ended = await start().ends()
        while (ended.code !== 0 && isRetried && Date.now() < giveUp)
        expect(ended.code, `${text}\n${ended.stdout}\n${ended.stderr}`).toBe(0)
        expect(ended.stderr).not.toMatch(/^rootspan: .* failed/m)
      },
    )

    if (records.length > 0)
      test('leaves the records that it promises', async () => {
        let seen = -1
        await waitFor(
          `records of ${service}: ${records.map(([kind, claims]) => kind + JSON.stringify(claims)).join(' ')}`,
          async () => {
            const signed = await signedExecutions(service)
            if (signed.length === seen) return undefined
            seen = signed.length
            const all = (await Promise.all(signed.map((one) => recordsOf(collector, one)))).flat()
            return records.every((wanted) => all.some((one) => isLike(one, wanted))) ? true : undefined
          },
          20_000,
        )
      })
  })
}

async function signedExecutions(service: string): Promise<ExecutionSummary[]> {
  const response = await fetch(`${collector.api}/api/v1/executions?service=${service}`)
  const { executions } = (await response.json()) as { executions: ExecutionSummary[] }
  return executions.filter(({ segments, signedSegments }) => segments === signedSegments)
}

function isLike(record: Shown, [kind, claims]: Page['records'][number]): boolean {
  return (
    record.kind === kind &&
    Object.entries(claims).every(([key, value]) => String(record.claims[`${kind}.${key}`]) === value)
  )
}

async function readPages(): Promise<Page[]> {
  const paths: string[] = []
  for await (const path of glob(PAGES, { cwd: root })) paths.push(path)
  return Promise.all(
    paths.sort().map(async (path) => {
      const text = await readFile(join(root, path), 'utf8')
      const said = (what: string) =>
        [...text.matchAll(new RegExp(`^<!-- ${what}: (.*?) -->$`, 'gm'))].flatMap(([, words]) =>
          words!.split(/ +(?![^(]*\))/),
        )
      return {
        path,
        blocks: readBlocks(text),
        needs: said('needs'),
        runBy: said('run by'),
        records: said('records').map(readRecord),
      }
    }),
  )
}

function readBlocks(text: string): Block[] {
  return [...text.matchAll(/^```(\w+)(.*)\n((?:.*\n)*?)```$/gm)].map((match) => {
    const [, language, words] = match as unknown as [string, string, string]
    const until = /until="([^"]*)"/.exec(words)?.[1]
    const rest = words.replace(/until="[^"]*"/, '').split(' ')
    return {
      line: text.slice(0, match.index).split('\n').length,
      language,
      file: rest.find((word) => /^[\w-]+\.\w+$/.test(word)),
      isRun: rest.includes('run'),
      until: until === undefined ? undefined : new RegExp(until),
      isRetried: rest.includes('retry'),
      text: match[3]!,
    }
  })
}

/** `decision(outcome=deny)` */
function readRecord(text: string): readonly [string, Record<string, string>] {
  const [, kind, claims] = /^(\w+)(?:\((.*)\))?$/.exec(text)!
  return [kind!, Object.fromEntries(claims?.split(/, */).map((one) => one.split('=')) ?? [])]
}

/** What `npm install` lines name; undefined if there is any other command. */
function installs(text: string): string[] | undefined {
  const lines = text.replaceAll('\\\n', ' ').trim().split('\n')
  if (!lines.every((line) => /^npm install /.test(line))) return undefined
  return lines.flatMap((line) => line.split(/\s+/).slice(2)).filter((word) => !word.startsWith('-'))
}

function isInstalled(name: string): boolean {
  return existsSync(join(root, 'node_modules', name.replace(/(.)@.*$/, '$1')))
}

/**
 * An empty project in which everything that is installed here is installed, our own packages as if they were built:
 * under the condition `source` packages of others would be run from their sources too.
 */
async function makeProject(): Promise<string> {
  const directory = await makeDirectory()
  const [from, to] = [join(root, 'node_modules'), join(directory, 'node_modules')]
  const own = join(to, '@rootspan', 'instrumentation')
  await mkdir(own, { recursive: true })
  for (const name of await readdir(from))
    if (name !== '@rootspan' && name !== '.bin') await symlink(join(from, name), join(to, name))
  await mkdir(join(to, '.bin'))
  for (const name of await readdir(join(from, '.bin')))
    if (!name.startsWith('rootspan')) await symlink(join(from, '.bin', name), join(to, '.bin', name))
  const verifier = join(root, 'packages/verifier/src/main.ts')
  await writeFile(
    join(to, '.bin', 'rootspan-verify'),
    `#!/bin/sh\nexec node --conditions=source '${verifier}' "$@"\n`,
    { mode: 0o755 },
  )
  for (const [name, file] of STAND_INS)
    if (!isThere(name))
      await writeFile(join(to, '.bin', name), `#!/bin/sh\nexec node '${join(root, file)}' "$@"\n`, {
        mode: 0o755,
      })
  await symlink(join(root, 'packages/instrumentation/src'), join(own, 'src'))
  const exports = { '.': './src/index.ts', './register': './src/register.ts' }
  await writeFile(join(own, 'package.json'), JSON.stringify({ name: '@rootspan/instrumentation', exports }))
  await writeFile(join(directory, 'package.json'), JSON.stringify({ private: true }))
  return directory
}

/** A command in the PATH, or a variable in capitals. */
function isThere(need: string): boolean {
  if (/^[A-Z_]+$/.test(need)) return process.env[need] !== undefined
  return (process.env.PATH ?? '').split(delimiter).some((part) => existsSync(join(part, need)))
}
