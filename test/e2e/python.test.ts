/** Another language's exporters: the OpenTelemetry SDK for Python, from PyPI. */
import { join } from 'node:path'
import { formatHex } from '@rootspan/lineage/bytes'
import { parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { verify } from '@rootspan/lineage/verify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp, makeDirectory, runProgram } from './process.ts'
import { type CollectorProcess, downloadEvidence, startCollectorProcess, waitForTrace } from './support.ts'
import { parentsOf } from './tree.ts'

const PACKAGES = ['sdk', 'exporter-otlp-proto-grpc', 'exporter-otlp-proto-http'].map(
  (name) => `opentelemetry-${name}==1.45.2`,
)

/** Makes a virtual environment with the SDK; undefined, and a word on stderr, where that is not to be or cannot be. */
async function installSdk(): Promise<string | undefined> {
  const skip = (why: string): undefined =>
    void console.warn(
      `SKIPPED: the exporters of Python: ${why}. With python3-venv and PyPI: CI=true npx vitest run test/e2e/python.test.ts`,
    )
  if (process.env.CI === undefined) return skip('packages are fetched in CI only')
  const directory = join(await makeDirectory(), 'venv')
  const made = await runProgram('sh', ['-c', `python3 -m venv ${directory}`])
  if (made.code !== 0) return skip(`there is no python3 with venv: ${made.stdout}${made.stderr}`)
  const python = join(directory, 'bin', 'python')
  const args = ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', ...PACKAGES]
  // Proxies and mirrors are the environment's affair.
  const installed = await runProgram(python, args, {
    millis: 240_000,
    env: process.env as Record<string, string>,
  })
  if (installed.code !== 0) return skip(`pip failed: ${installed.stderr}`)
  return python
}

let python: string | undefined
let collector: CollectorProcess

beforeAll(async () => {
  python = await installSdk()
  if (python !== undefined) collector = await startCollectorProcess()
}, 360_000)

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
}, 120_000)

describe.each(['grpc', 'http/protobuf'] as const)('%s', (protocol) => {
  test.for(['none', 'gzip'])(
    'compression %s: every span is a record',
    { timeout: 120_000 },
    async (compression, { skip }) => {
      if (python === undefined) return skip('there is no SDK')
      const endpoint = protocol === 'grpc' ? collector.grpc : collector.http
      const { code, stdout, stderr } = await runProgram(
        python,
        [join(import.meta.dirname, 'apps', 'shop.py'), protocol],
        {
          env: {
            OTEL_SERVICE_NAME: 'shop',
            OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
            // None by that name is an error for one of them.
            ...(compression !== 'none' && { OTEL_EXPORTER_OTLP_COMPRESSION: compression }),
          },
        },
      )
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      const { traceId, parents } = JSON.parse(stdout) as { traceId: string; parents: Record<string, string> }
      expect(Object.keys(parents)).toHaveLength(81)

      await waitForTrace(collector, traceId, 81)
      const policy = policyOfLogs(parseVerifierKey(collector.vkey))
      const execution = verify(await downloadEvidence(collector, traceId), policy)
      expect(formatHex(execution.traceId)).toBe(traceId)
      expect(parentsOf(execution)).toEqual(parents)
      expect(execution.roots[0]?.record.span?.name).toBe('order')
    },
  )
})
