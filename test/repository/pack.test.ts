/**
 * What a user gets: the packages are built, packed and installed from their tarballs into an empty project, whose
 * dependencies come from the registry, and both commands run there on the oldest Node that we promise: a trace is sent,
 * and its evidence verified. So does an application under the instrumentation's flag, with each line of OpenTelemetry's
 * SDK.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Outcome, packages, root, run } from '../../scripts/workspace.ts'
import { cleanUp, type Ended, runProgram, waitFor } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { expectHooks } from '../instrumentation/in-code.ts'
import { recordsOf, select, startQuickCollector } from '../instrumentation/support.ts'
import { cleanEnvironment, isRegistryReachable, npm } from '../support/npm.ts'

const NODE = '22.15.0'
const MINUTES = 60_000

/** A service that asks itself once and ends. It knows nothing of tracing. */
const APP = `
const key = 'the key of the service'
const server = http.createServer((request, response) => {
  response.end(jwt.verify(request.headers.authorization.slice('Bearer '.length), key).sub)
})
server.listen(0, '127.0.0.1', () => {
  const token = jwt.sign({ sub: 'alice', iss: 'https://issuer.example' }, key)
  const headers = { authorization: 'Bearer ' + token }
  http.get({ port: server.address().port, host: '127.0.0.1', agent: false, headers }, async (response) => {
    const [body] = await response.toArray()
    console.log(process.version, response.statusCode, String(body))
    server.close()
  })
})
`

const TRACE_ID = '5b8efff798038103d269b633813fc60c'
/** A trace in OTLP/JSON, as any sender of one makes it: a request and a decision within it. */
const REQUEST = {
  resourceSpans: [
    {
      resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] },
      scopeSpans: [
        {
          scope: { name: 'by hand' },
          spans: [
            spanOf('eee19b7ec3c1b174', { name: 'POST /orders', kind: 2 }),
            spanOf('eee19b7ec3c1b175', {
              name: 'authorize',
              parentSpanId: 'eee19b7ec3c1b174',
              attributes: [{ key: 'governance.decision.outcome', value: { stringValue: 'allow' } }],
            }),
          ],
        },
      ],
    },
  ],
}

function spanOf(spanId: string, more: object): object {
  const times = { startTimeUnixNano: '1767323045000000000', endTimeUnixNano: '1767323045100000000' }
  return { traceId: TRACE_ID, spanId, ...times, ...more }
}

const reachable = await isRegistryReachable()

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
  'the collector takes a trace, and the verifier believes its evidence and no other',
  { timeout: 2 * MINUTES },
  async () => {
    await succeed(inProject('rootspan', ['init']))
    const listen = ['grpc', 'http', 'api'].flatMap((name) => [`--${name}`, '127.0.0.1:0'])
    const child = start('rootspan', ['run', '--quiet-period', '200ms', ...listen])
    try {
      const listening = await printed(child, /("http":"127\.0\.0\.1:[1-9].*"api":"127\.0\.0\.1:[1-9][0-9]*")/)
      const [http, api] = ['http', 'api'].map(
        (name) => `http://${listening.split(`"${name}":"`)[1]!.split('"')[0]}`,
      )
      expect((await fetch(`${api}/health/ready`)).status).toBe(200)
      const sent = await fetch(`${http}/v1/traces`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(REQUEST),
      })
      expect({ status: sent.status, body: await sent.json() }).toEqual({ status: 200, body: {} })
      const evidence = await waitFor('the evidence', async () => {
        const response = await fetch(`${api}/api/v1/executions/${TRACE_ID}/evidence`)
        return response.status === 200 ? Buffer.from(await response.arrayBuffer()) : undefined
      })
      await writeFile(join(project, 'log.policy'), await (await fetch(`${api}/log/policy`)).text())
      await writeFile(join(project, 'good.rootspan'), evidence)
      const verify = (file: string) =>
        inProject('rootspan-verify', ['verify', file, '--policy', 'log.policy', '--json'])
      const good = await verify('good.rootspan')
      expect(good.code, good.output).toBe(0)
      expect(JSON.parse(good.output)).toMatchObject({
        result: 'verified',
        traceId: TRACE_ID,
        verdict: { integrity: { state: 'verified' } },
        records: { span: 2, decision: 1 },
      })

      // A byte of the trace id, as the payload has it.
      const payload = evidence.indexOf('"payload":"') + '"payload":"'.length
      evidence[payload + 4] = evidence[payload + 4] === 0x41 ? 0x42 : 0x41
      await writeFile(join(project, 'bad.rootspan'), evidence)
      const bad = await verify('bad.rootspan')
      expect(bad.code, bad.output).toBe(1)
      expect(JSON.parse(bad.output)).toMatchObject({ result: 'bad' })
    } finally {
      child.kill('SIGTERM')
    }
    const [code] = child.exitCode === null ? await once(child, 'exit') : [child.exitCode]
    expect(code).toBe(0)
  },
)

/** Lines of OpenTelemetry's SDK that are supported, and Nodes on which applications are tried with each. */
const SDKS = [
  { line: '3.x', api: '1.10.0', sdk: '0.301.0', auto: '0.82.0' },
  { line: '2.x', api: '1.9.0', sdk: '0.217.0', auto: '0.75.0' },
] as const
const NEWEST = '26.10.0'
const NODES = [NODE, process.versions.node, NEWEST] as const

describe.runIf(reachable).each(SDKS)('the instrumentation with SDK $line', ({ line, api, sdk, auto }) => {
  let directory: string
  let collector: CollectorProcess

  beforeAll(async () => {
    directory = join(work, `sdk-${line}`)
    await mkdir(directory)
    await writeFile(join(directory, 'package.json'), '{"private":true,"allowScripts":{"node":true}}')
    const tarball = (await readdir(work)).find((file) => file.startsWith('rootspan-instrumentation-'))!
    const names = [
      join(work, tarball),
      `@opentelemetry/api@${api}`,
      `@opentelemetry/sdk-node@${sdk}`,
      `@opentelemetry/auto-instrumentations-node@${auto}`,
      'jsonwebtoken@9.0.3',
      `node@${NEWEST}`,
    ]
    await succeed(npm(['install', '--no-audit', '--no-fund', '--save-exact', ...names], directory))
    // Of these the self-test does not tell: they are no dependencies of the project.
    const libraries = ['jose@6.2.18', 'casbin@5.51.1', '@modelcontextprotocol/sdk@1.32.2']
    await succeed(npm(['install', '--no-audit', '--no-fund', '--no-save', ...libraries], directory))
    await writeFile(
      join(directory, 'app.mjs'),
      `import http from 'node:http'\nimport jwt from 'jsonwebtoken'\n${APP}`,
    )
    await writeFile(
      join(directory, 'app.cjs'),
      `const http = require('node:http')\nconst jwt = require('jsonwebtoken')\n${APP}`,
    )
    await writeFile(
      join(directory, 'exit.mjs'),
      `import http from 'node:http'\nimport jwt from 'jsonwebtoken'\n${APP.replace('server.close()', 'process.exit(3)')}`,
    )
    collector = await startQuickCollector()
  }, 5 * MINUTES)

  afterAll(async () => {
    await collector?.stop()
    await cleanUp()
  })

  const nodeOfVersion = (version: string): string => {
    if (version === process.versions.node) return process.execPath
    return nodeOf(version === NODE ? project : directory)
  }

  test.each(NODES.flatMap((node) => [[node, 'app.mjs'] as const, [node, 'app.cjs'] as const]))(
    'Node %s runs %s, and its records hold what the hook saw',
    { timeout: 2 * MINUTES },
    async (node, file) => {
      const service = `${node} ${file}`
      const { code, stdout, stderr } = await runApplication(
        nodeOfVersion(node),
        [file],
        directory,
        collector,
        service,
      )
      expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: `v${node} 200 alice\n` })
      expect(stderr).not.toContain('warning')
      const records = await recordsOf(collector, await executionOf(collector, service))
      const [fact] = select(records, 'authorization', { 'authorization.verification': 'verified' })
      expect(fact?.claims).toMatchObject({
        'authorization.type': 'jwt',
        'authorization.issuer': 'https://issuer.example',
      })
      expect(fact?.resource['governance.instrumentation.hooks']).toEqual(['jsonwebtoken@9.0.3 effective'])
      expect(select(records, 'request')).toHaveLength(1)
    },
  )

  test.each(NODES)(
    'Node %s: what was recorded is not lost when the application calls process.exit',
    { timeout: MINUTES },
    async (node) => {
      const service = `${node} exit`
      const args = ['exit.mjs']
      const ended = await runApplication(nodeOfVersion(node), args, directory, collector, service)
      expect(ended.code, ended.stderr).toBe(3)
      expect(ended.stderr).not.toContain('warning')
      const records = await recordsOf(collector, await executionOf(collector, service))
      expect(select(records, 'authorization', { 'authorization.verification': 'verified' })).toHaveLength(1)
    },
  )

  test('its spans and contexts are put together by the instrumentation, and are of the SDK’s class', {
    timeout: MINUTES,
  }, async () => {
    await writeFile(
      join(directory, 'quick.mjs'),
      `import { createRequire } from 'node:module'
import { createContextKey, ROOT_CONTEXT, trace } from '@opentelemetry/api'
const required = createRequire(import.meta.url)('@opentelemetry/api')
const tracer = trace.getTracer('application')
const [first, next] = ['first', 'next'].map((name) => tracer.startSpan(name))
const isQuick = Object.getPrototypeOf(first) !== Object.getPrototypeOf(next)
const contexts = [ROOT_CONTEXT, required.ROOT_CONTEXT].map((one) => one.setValue(createContextKey('a'), 1).constructor.name)
console.log(isQuick, next instanceof first.constructor, ...contexts)
`,
    )
    const ran = await runApplication(nodeOf(project), ['quick.mjs'], directory, collector, 'quick')
    expect(ran, ran.stderr).toMatchObject({ code: 0, stdout: 'true true ShortContext ShortContext\n' })
  })

  test.each(NODES)(
    'put in by the flag and by code, on Node %s, for `require` and for `import`',
    { timeout: MINUTES },
    async (version) => {
      const { file, flags } = await inCode(directory)
      const service = { file, cwd: directory, node: nodeOfVersion(version) }
      const flag = ['--import', '@rootspan/instrumentation/register']
      await expectHooks(
        collector,
        { ...service, flags: flag, name: `by flag ${version}` },
        {
          code: null,
          stderr: 'rootspan: hooks: jsonwebtoken@9.0.3 effective\n',
        },
      )
      // The application's own way to set OpenTelemetry up, of which Node 26 says that it is deprecated.
      const quiet = ['--disable-warning=DEP0205', ...flags]
      await expectHooks(collector, { ...service, flags: quiet, name: `by code ${version}` })
    },
  )
})

/** What in-code.test.ts has from the sources. */
async function inCode(directory: string): Promise<{ file: string; flags: string[] }> {
  const apps = join(root, 'test/instrumentation/apps')
  const [file, telemetry] = ['in-code-hooks.app.mjs', 'in-code.telemetry.mjs']
  for (const name of [file, telemetry]) {
    const text = await readFile(join(apps, name), 'utf8')
    const packaged = text.replace(
      /'[./]*\/packages\/instrumentation\/src\/index.ts'/,
      "'@rootspan/instrumentation'",
    )
    await writeFile(join(directory, name), packaged)
  }
  return { file: join(directory, file), flags: ['--import', join(directory, telemetry)] }
}

describe.runIf(reachable)('what stands in the way of hooks', () => {
  let directory: string
  let collector: CollectorProcess

  beforeAll(async () => {
    // Below the project of the SDK, so that everything else is found there.
    directory = join(work, `sdk-${SDKS[0].line}`, 'below')
    await mkdir(directory)
    await writeFile(join(directory, 'package.json'), '{"private":true,"type":"commonjs"}')
    const names = ['jsonwebtoken@7.4.3', 'elastic-apm-node@4.15.0']
    await succeed(npm(['install', '--no-audit', '--no-fund', '--save-exact', ...names], directory))
    const twice = "require('jsonwebtoken/verify')\nimport('jsonwebtoken')\n"
    await writeFile(
      join(directory, 'app.cjs'),
      `const http = require('node:http')\nconst jwt = require('jsonwebtoken')\n${twice}${APP}`,
    )
    await writeFile(
      join(directory, 'loader.mjs'),
      "import { register } from 'node:module'\nregister('import-in-the-middle/hook.mjs', import.meta.url)\n",
    )
    await writeFile(join(directory, 'agent.cjs'), "require('elastic-apm-node').start()\n")
    collector = await startQuickCollector()
  }, 5 * MINUTES)

  afterAll(async () => {
    await collector?.stop()
    await cleanUp()
  })

  test('a version that the hook does not know is left alone, and said once', {
    timeout: MINUTES,
  }, async () => {
    const { code, stdout, stderr } = await runApplication(
      nodeOf(project),
      ['app.cjs'],
      directory,
      collector,
      'old',
    )
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: `v${NODE} 200 alice\n` })
    expect(stderr.match(/jsonwebtoken 7\.4\.3 is left alone: its hook knows .*/g)).toHaveLength(1)
    const records = await recordsOf(collector, await executionOf(collector, 'old'))
    expect(select(records, 'authorization')).toEqual([])
    const [request] = select(records, 'request')
    expect(request?.resource['governance.instrumentation.hooks']).toEqual([
      'jsonwebtoken@7.4.3 unknown version',
    ])
  })

  /** Runs both applications of the project above, `flags` before ours. */
  const runBoth = async (service: string, flags: readonly string[]) => {
    const above = join(directory, '..')
    const run = async (file: string) => {
      const name = `${service} ${file}`
      const ended = await runApplication(nodeOf(above), [file], above, collector, name, flags)
      const { code, stdout, stderr } = ended
      expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: `v${NEWEST} 200 alice\n` })
      const records = await recordsOf(collector, await executionOf(collector, name))
      const facts = select(records, 'authorization', { 'authorization.verification': 'verified' })
      return { stderr, facts: facts.length, hooks: records[0]?.resource['governance.instrumentation.hooks'] }
    }
    return { esm: await run('app.mjs'), cjs: await run('app.cjs') }
  }

  test.each([
    ['another loader', ['--import', 'import-in-the-middle/hook.mjs'], 'import-in-the-middle'],
    ['an agent', ['--require', './below/node_modules/elastic-apm-node/start.js'], 'Elastic APM'],
    ['an agent that code starts', ['--require', './below/agent.cjs'], 'Elastic APM'],
  ])('%s is named, and hooks hold', { timeout: 2 * MINUTES }, async (service, flags, name) => {
    const { esm, cjs } = await runBoth(service, flags)
    for (const { stderr, facts, hooks } of [esm, cjs]) {
      expect(stderr).toContain(`${name} is loaded too`)
      expect(facts).toBe(1)
      expect(hooks).toEqual(['jsonwebtoken@9.0.3 effective'])
    }
  })

  test('an older loader that was registered before takes hooks away, and this is said', {
    timeout: 2 * MINUTES,
  }, async () => {
    const { esm, cjs } = await runBoth('before', ['--import', './below/loader.mjs'])
    expect(esm.stderr).toContain('hooks that have not taken hold: jsonwebtoken not effective')
    expect(esm).toMatchObject({ facts: 0, hooks: ['jsonwebtoken not effective'] })
    expect(cjs).toMatchObject({ facts: 1, hooks: ['jsonwebtoken@9.0.3 effective'] })
  })
})

function nodeOf(directory: string): string {
  return join(directory, 'node_modules', 'node', 'bin', 'node')
}

/** Runs an application under the flag, to its end. `flags` come before it. */
function runApplication(
  node: string,
  args: readonly string[],
  cwd: string,
  { http }: CollectorProcess,
  service: string,
  flags: readonly string[] = [],
): Promise<Ended> {
  const env = {
    OTEL_SERVICE_NAME: service,
    OTEL_EXPORTER_OTLP_ENDPOINT: http,
    OTEL_METRICS_EXPORTER: 'none',
    OTEL_LOGS_EXPORTER: 'none',
    OTEL_NODE_RESOURCE_DETECTORS: 'env',
    ROOTSPAN_FINGERPRINT_KEY: 'a key of sixteen bytes or more',
    ELASTIC_APM_DISABLE_SEND: 'true',
    ELASTIC_APM_LOG_LEVEL: 'off',
  }
  return runProgram(node, [...flags, '--import', '@rootspan/instrumentation/register', ...args], { cwd, env })
}

function executionOf({ api }: CollectorProcess, service: string): Promise<{ traceId: string }> {
  return waitFor(`an execution of ${service}`, async () => {
    const found = await fetch(`${api}/api/v1/executions?service=${encodeURIComponent(service)}`)
    const { executions } = (await found.json()) as { executions: { traceId: string; name: string }[] }
    // Others are of the process itself: hello and goodbye, and the look-up of an address to listen on.
    return executions.find(({ name }) => name.startsWith('GET'))
  })
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
