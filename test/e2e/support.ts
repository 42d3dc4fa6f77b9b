/** The collector and the verifier as users have them: processes, their flags, their files and HTTP. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Policy, parsePolicy } from '@rootspan/lineage/tlog/policy'
import { expect } from 'vitest'
import { root } from '../../scripts/workspace.ts'
import { type Ended, makeDirectory, type Running, runProgram, startProgram, waitFor } from './process.ts'

const COLLECTOR = join(root, 'packages/collector/src/main.cts')
const VERIFIER = join(root, 'packages/verifier/src/main.ts')

/** Generous: machines under test are busy, and a wait that succeeds costs nothing. */
const MILLIS = 60_000

export interface CollectorOptions {
  /** Where `rootspan-data` and `rootspan-signer` are or will be; a fresh directory if absent. */
  readonly directory?: string
  readonly quietPeriod?: string
  /** More of the configuration, as the text of a YAML file. */
  readonly config?: string
  readonly flags?: readonly string[]
  /** Whether to make a log if there is none; default true. */
  readonly init?: boolean
}

/** A collector that runs. Endpoints are URLs without a path. */
export interface CollectorProcess {
  readonly directory: string
  readonly grpc: string
  readonly http: string
  readonly api: string
  readonly origin: string
  readonly vkey: string
  readonly process: Running
  /** SIGTERM; asserts that it drains and exits with 0. */
  stop(): Promise<void>
}

/** One summary of `/api/v1/executions`. */
export interface ExecutionSummary {
  readonly traceId: string
  readonly name: string
  readonly services: readonly string[]
  readonly spans: number
  readonly records: number
  readonly firstLeaf: number
  readonly segments: number
  readonly signedSegments: number
  readonly closed: string
}

/** Arguments with which `rootspan run` starts on free ports. */
export function runArguments(options: Omit<CollectorOptions, 'directory'> = {}): string[] {
  const { quietPeriod = '500ms', flags = [], init = true } = options
  return [
    'run',
    ...(init ? ['--init'] : []),
    ...['--grpc', '127.0.0.1:0', '--http', '127.0.0.1:0', '--api', '127.0.0.1:0'],
    ...['--quiet-period', quietPeriod, ...flags],
  ]
}

/** Starts `rootspan` in a directory of its own. */
export function startRootspan(args: readonly string[], directory: string): Running {
  const name = `rootspan ${args[0]}`
  return startProgram(process.execPath, ['--conditions=source', COLLECTOR, ...args], { cwd: directory, name })
}

export async function runRootspan(
  args: readonly string[],
  directory: string,
  millis = MILLIS,
): Promise<Ended> {
  return startRootspan(args, directory).ends(millis)
}

export async function runVerifier(
  args: readonly string[],
  directory: string,
  millis = MILLIS,
): Promise<Ended> {
  const options = { cwd: directory, name: `rootspan-verify ${args[0]}`, millis }
  return runProgram(process.execPath, ['--conditions=source', VERIFIER, ...args], options)
}

/** Starts the collector on free ports and waits until it is ready. */
export async function startCollectorProcess(options: CollectorOptions = {}): Promise<CollectorProcess> {
  const directory = options.directory ?? (await makeDirectory())
  const flags = [...(options.flags ?? [])]
  if (options.config !== undefined) {
    const file = join(directory, 'rootspan.yaml')
    await writeFile(file, options.config)
    flags.push('--config', file)
  }
  const child = startRootspan(runArguments({ ...options, flags }), directory)
  const [line] = await child.says(/^\{.*"msg":"running"\}$/m, MILLIS)
  const said = JSON.parse(line) as Record<'grpc' | 'http' | 'api' | 'origin' | 'verifierKey', string>
  const api = `http://${said.api}`
  await waitFor('the collector to be ready', async () =>
    (await fetch(`${api}/health/ready`)).ok ? true : undefined,
  )
  return {
    directory,
    grpc: `http://${said.grpc}`,
    http: `http://${said.http}`,
    api,
    origin: said.origin,
    vkey: said.verifierKey,
    process: child,
    async stop() {
      child.signal('SIGTERM')
      const { code, stdout, stderr } = await child.ends(MILLIS)
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout.trimEnd().split('\n').at(-1)).toContain('"msg":"stopped"')
    },
  }
}

/** Runs `rootspan init` and gives the policy that it prints for auditors. */
export async function initialise(directory: string): Promise<{ text: string; policy: Policy; said: string }> {
  const { code, stdout, stderr } = await runRootspan(['init'], directory)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const after = stdout.split('Give auditors this policy')[1]?.split('\n').slice(1) ?? []
  const lines = after.slice(0, after.indexOf(''))
  const text = lines.map((line) => `${line.trim()}\n`).join('')
  return { text, policy: parsePolicy(text), said: stdout }
}

/** Waits until a trace has this many committed spans and all of its segments are under a checkpoint. */
export async function waitForTrace(
  { api }: Pick<CollectorProcess, 'api'>,
  traceId: string,
  spans: number,
): Promise<ExecutionSummary> {
  let last: unknown
  return waitFor(
    `trace ${traceId} of ${spans} spans to be committed and signed`,
    async () => {
      const response = await fetch(`${api}/api/v1/executions/${traceId}`)
      last = await response.json()
      if (response.status === 404) return undefined
      expect(response.status).toBe(200)
      const found = last as ExecutionSummary
      return found.spans >= spans && found.signedSegments === found.segments ? found : undefined
    },
    MILLIS,
    () => `; the collector says ${JSON.stringify(last)?.slice(0, 500)}`,
  )
}

export async function downloadEvidence(
  { api }: Pick<CollectorProcess, 'api'>,
  traceId: string,
): Promise<Uint8Array> {
  const response = await waitFor('the evidence', async () => {
    const answer = await fetch(`${api}/api/v1/executions/${traceId}/evidence`)
    // Few bundles are written at a time; whoever comes above that is told to come again.
    return answer.status === 503 ? undefined : answer
  })
  const bytes = new Uint8Array(await response.arrayBuffer())
  expect(response.status, Buffer.from(bytes).toString().slice(0, 500)).toBe(200)
  return bytes
}

/** The values of `/metrics` by name and labels, as Prometheus writes them. */
export async function readMetrics({ api }: Pick<CollectorProcess, 'api'>): Promise<Map<string, number>> {
  const text = await (await fetch(`${api}/metrics`)).text()
  const values = new Map<string, number>()
  for (const line of text.split('\n')) {
    const end = line.lastIndexOf(' ')
    if (line !== '' && !line.startsWith('#')) values.set(line.slice(0, end), Number(line.slice(end + 1)))
  }
  return values
}

/** The latest checkpoint, verbatim. */
export async function readCheckpoint({ api }: Pick<CollectorProcess, 'api'>): Promise<Uint8Array> {
  return new Uint8Array(await (await fetch(`${api}/log/checkpoint`)).arrayBuffer())
}

/** What `init` wrote into `log.json`. */
export async function readIdentity(
  directory: string,
  data = 'rootspan-data',
): Promise<{ origin: string; key: string }> {
  return JSON.parse(await readFile(join(directory, data, 'log.json'), 'utf8'))
}
