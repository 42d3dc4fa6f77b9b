/** What leaves a process that sets nothing but where to send: neither its log nor its command line, unless asked for. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp, waitFor } from '../e2e/process.ts'
import { tap } from '../e2e/sdk.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { startCode, startQuickCollector } from './support.ts'
import { expectNothingLeaked } from './tokens.ts'

/** As the SDK has it without these variables. */
const DEFAULTS = { OTEL_LOGS_EXPORTER: '', OTEL_METRICS_EXPORTER: '', OTEL_NODE_RESOURCE_DETECTORS: '' }
/** The code is an argument of the process, and the secret is in it. */
const CODE = `
  import pino from 'pino'
  import { recordDecision } from '@rootspan/instrumentation'
  pino().info({ token: 'the-secret-that-was-logged' }, 'hello')
  recordDecision({ outcome: 'allow', action: 'the-witness', engine: 'own' })
`
const SECRETS = ['the-secret-that-was-logged', 'pino().info']

let collector: CollectorProcess

beforeAll(async () => {
  collector = await startQuickCollector()
})

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

async function run(env: Readonly<Record<string, string>>): Promise<{ sent(): Buffer }> {
  const between = await tap(collector.http)
  const ended = await startCode({ http: between.url }, CODE, env).ends()
  expect(ended, ended.stderr).toMatchObject({ code: 0 })
  const sent = await waitFor('the decision to be sent', () =>
    between.sent().includes('the-witness') ? between.sent() : undefined,
  )
  await between.close()
  return { sent: () => sent }
}

test('by default neither', async () => {
  const wire = await run(DEFAULTS)
  expectNothingLeaked(wire, SECRETS, 'the-witness')
  expect(wire.sent().includes('process.pid')).toBe(true)
  expect(wire.sent().includes('POST /v1/logs')).toBe(false)
})

test('with every detector asked for by name, not the command line', async () => {
  expectNothingLeaked(await run({ ...DEFAULTS, OTEL_NODE_RESOURCE_DETECTORS: 'all' }), SECRETS, 'the-witness')
})

test('its log where that is asked for', async () => {
  const wire = await run({ ...DEFAULTS, OTEL_LOGS_EXPORTER: 'otlp' })
  expect(wire.sent().includes('POST /v1/logs')).toBe(true)
})
