/** A service that starts an SDK of its own gets the register flag: which of the two has the spans is said, once. */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp, startProgram } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { everything } from './lives.ts'
import { select, startQuickCollector, UNDER_FLAG } from './support.ts'

const OWN = join(import.meta.dirname, 'apps/own-sdk.telemetry.mjs')
const ENDING = join(import.meta.dirname, 'apps/ending.app.mjs')

let collector: CollectorProcess

beforeAll(async () => {
  collector = await startQuickCollector()
})

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

/** Runs Node to its end; the lines of its standard error, and what the application's own SDK got. */
async function run(name: string, args: readonly string[]): Promise<{ said: string[]; got: string[] }> {
  const env = {
    OTEL_SERVICE_NAME: name,
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.http,
    OTEL_METRICS_EXPORTER: 'none',
    OTEL_NODE_RESOURCE_DETECTORS: 'env',
    ROOTSPAN_FINGERPRINT_KEY: 'x'.repeat(16),
    ROOTSPAN_LOG_LEVEL: 'warn',
    ENDING: 'end',
  }
  const { code, stdout, stderr } = await startProgram(process.execPath, args, { env }).ends()
  expect(code, stderr).toBe(0)
  return {
    said: stderr.split('\n').filter((line) => line.includes('OpenTelemetry SDK')),
    got: [...stdout.matchAll(/^got (\S+)$/gm)].map(([, span]) => span!),
  }
}

const REFUSED =
  /^rootspan: warning: the application starts an OpenTelemetry SDK of its own: this one was first/

test.each([
  [
    'ES modules',
    [
      '--input-type=module',
      '--eval',
      `await import(${JSON.stringify(pathToFileURL(OWN).href)}); await import(${JSON.stringify(pathToFileURL(ENDING).href)})`,
    ],
  ],
  [
    'CommonJS',
    [
      '--eval',
      `
    const { NodeSDK } = require('@opentelemetry/sdk-node')
    for (let times = 0; times < 2; times++) new NodeSDK({ traceExporter: { export() {}, shutdown: async () => {} } }).start()
    void import(${JSON.stringify(pathToFileURL(ENDING).href)})
  `,
    ],
  ],
])(
  'started by the application, as %s: ours has the spans, and it is said that the other gets none',
  async (name, args) => {
    const { said, got } = await run(name, [...UNDER_FLAG, ...args])
    expect(said).toEqual([expect.stringMatching(REFUSED)])
    expect(got).toEqual([])
    const all = await everything(collector, (records) =>
      select(records, 'decision').some(({ resource }) => resource['service.name'] === name),
    )
    expect(select(all, 'decision', { 'decision.action.name': 'nightly' }).length).toBeGreaterThan(0)
  },
)

test('started before ours: it is said that ours has no spans', async () => {
  const { said, got } = await run('before', ['--import', OWN, ...UNDER_FLAG, ENDING])
  expect(said).toEqual([
    expect.stringMatching(
      /^rootspan: warning: another OpenTelemetry SDK was started before this one and has all spans/,
    ),
  ])
  expect(got).toContain('nightly')
})

test('alone: nothing is said', async () => {
  expect(await run('alone', [...UNDER_FLAG, ENDING])).toEqual({ said: [], got: [] })
})
