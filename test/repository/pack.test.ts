/**
 * What a user gets: the packages are built, packed and installed from their tarballs into an empty project, whose
 * dependencies come from the registry, and both commands run there on the oldest Node that we promise.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Outcome, packages, root, run } from '../../scripts/workspace.ts'

const NODE = '22.15.0'
const MINUTES = 60_000

/** Where the registry cannot be reached a newcomer's run leaves this file out; CI never does. */
const reachable =
  process.env.CI !== undefined || (await run('npm', ['ping'], { env: cleanEnvironment() })).code === 0

let work: string
let project: string

beforeAll(async () => {
  if (!reachable) return
  work = await mkdtemp(join(tmpdir(), 'rootspan-pack-'))
  project = join(work, 'project')
  await mkdir(project)
  await succeed(run('node', ['scripts/build.ts']))
  for (const name of packages)
    await succeed(npm(['pack', '--pack-destination', work], join(root, 'packages', name)))
  const allowScripts = { node: true, 'classic-level': true }
  await writeFile(
    join(project, 'package.json'),
    JSON.stringify({ private: true, type: 'module', allowScripts }),
  )
  const tarballs = (await readdir(work))
    .filter((file) => file.endsWith('.tgz'))
    .map((file) => join(work, file))
  expect(tarballs).toHaveLength(packages.length)
  await succeed(npm(['install', '--no-audit', '--no-fund', ...tarballs, `node@${NODE}`], project))
}, 5 * MINUTES)

afterAll(() => rm(work, { recursive: true, force: true }))

test.runIf(reachable)('the project runs on the Node that we promise', async () => {
  expect(await output('node', '--version')).toBe(`v${NODE}\n`)
})

test.runIf(reachable)('packages hold what they should, and only that', async () => {
  for (const name of packages) {
    const directory = join(project, 'node_modules', '@rootspan', name)
    expect((await readdir(directory)).toSorted()).toEqual(['LICENSE', 'README.md', 'dist', 'package.json'])
    const files = await readdir(join(directory, 'dist'), { recursive: true })
    const extra = files.filter((file) => file.includes('.') && !/\.(?:c?js|c?js\.map|d\.c?ts)$/.test(file))
    expect(extra).toEqual([])
    expect(files.filter((file) => file.includes('.test.'))).toEqual([])
  }
})

test.runIf(reachable)("the core's types resolve for somebody else's compiler", async () => {
  await writeFile(
    join(project, 'consumer.ts'),
    `import { formatHex } from '@rootspan/lineage/bytes'
     import { leafHash } from '@rootspan/lineage/tlog/merkle'
     console.log(formatHex(leafHash(new Uint8Array(0))))\n`,
  )
  const tsc = ['--module', 'nodenext', '--target', 'es2022', '--strict', '--types', '', 'consumer.ts']
  await succeed(run('tsc', tsc, { cwd: project, env: cleanEnvironment() }))
  // RFC 6962: SHA-256 of the byte 0x00.
  expect(await output('node', 'consumer.js')).toBe(
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d\n',
  )
})

test.runIf(reachable)('both commands say what they are', async () => {
  for (const [command, name] of [
    ['rootspan', 'collector'],
    ['rootspan-verify', 'verifier'],
  ] as const) {
    const manifest = await readFile(join(root, 'packages', name, 'package.json'), 'utf8')
    expect(await output(command, '--version')).toContain(JSON.parse(manifest).version)
    expect(await output(command, '--help')).toContain(command)
  }
})

test.runIf(reachable)(
  'the verifier is installed and runs without the collector',
  { timeout: MINUTES },
  async () => {
    const alone = join(work, 'alone')
    await mkdir(alone)
    await writeFile(join(alone, 'package.json'), '{"private":true,"type":"module"}')
    const tarballs = (await readdir(work)).filter((file) =>
      /^rootspan-(?:lineage|verifier)-.*\.tgz$/.test(file),
    )
    await succeed(
      npm(['install', '--no-audit', '--no-fund', ...tarballs.map((file) => join(work, file))], alone),
    )
    expect(await readdir(join(alone, 'node_modules', '@rootspan'))).toEqual(['lineage', 'verifier'])
    const verify = join(alone, 'node_modules', '.bin', 'rootspan-verify')
    expect(await output(verify, '--help')).toContain('rootspan-verify')
  },
)

test.runIf(reachable)(
  'the collector initialises, runs, answers and stops',
  { timeout: MINUTES },
  async () => {
    await succeed(inProject('rootspan', ['init']))
    const child = start('rootspan', [
      'run',
      '--grpc',
      '127.0.0.1:0',
      '--http',
      '127.0.0.1:0',
      '--api',
      '127.0.0.1:0',
    ])
    try {
      const api = `http://${await printed(child, /"api":"(127\.0\.0\.1:[1-9][0-9]*)"/)}`
      const ready = await fetch(`${api}/health/ready`)
      expect(ready.status).toBe(200)
      const checkpoint = await fetch(`${api}/log/checkpoint`)
      expect([200, 404]).toContain(checkpoint.status)
    } finally {
      child.kill('SIGTERM')
    }
    const [code] = child.exitCode === null ? await once(child, 'exit') : [child.exitCode]
    expect(code).toBe(0)
  },
)

/** npm hands its own settings down by the environment; here they would point back into this repository. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {}
  for (const name of Object.keys(process.env))
    if (name.startsWith('npm_') || /^(?:INIT_CWD|NODE_OPTIONS|VITEST.*|NODE_ENV)$/.test(name))
      env[name] = undefined
  return env
}

function npm(args: readonly string[], cwd: string): Promise<Outcome> {
  return run('npm', args, { cwd, env: cleanEnvironment() })
}

/** As in the user's own shell within the project: its commands and its Node come first. */
function projectEnvironment(): NodeJS.ProcessEnv {
  const path = (process.env.PATH ?? '').split(delimiter).filter((part) => !part.startsWith(root))
  return { ...cleanEnvironment(), PATH: [join(project, 'node_modules', '.bin'), ...path].join(delimiter) }
}

function inProject(command: string, args: readonly string[]): Promise<Outcome> {
  return run(command, args, { cwd: project, env: projectEnvironment() })
}

async function output(command: string, ...args: string[]): Promise<string> {
  return (await succeed(inProject(command, args))).output
}

async function succeed(running: Promise<Outcome>): Promise<Outcome> {
  const outcome = await running
  if (outcome.code !== 0) expect.fail(`exit code ${outcome.code}\n${outcome.output}`)
  return outcome
}

function start(command: string, args: readonly string[]): ChildProcess {
  return spawn(command, args, { cwd: project, env: { ...process.env, ...projectEnvironment() } })
}

/** What the pattern's group matches in what the process prints, once it does. */
async function printed(child: ChildProcess, pattern: RegExp): Promise<string> {
  let text = ''
  return await new Promise((resolve, reject) => {
    const look = (piece: Buffer) => {
      text += piece.toString()
      const found = pattern.exec(text)?.[1]
      if (found !== undefined) resolve(found)
    }
    child.stdout?.on('data', look)
    child.stderr?.on('data', look)
    child.once('exit', (code) => reject(new Error(`ended with ${code} and printed:\n${text}`)))
  })
}
