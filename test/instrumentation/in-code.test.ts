/** Beside a set-up in code: governed spans by their own path, by the application's, or by both; always one record each. */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp, makeDirectory, startProgram } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { expectHooks } from './in-code.ts'
import { everything, livesOf } from './lives.ts'
import { type Shown, startApp, startQuickCollector } from './support.ts'

let collector: CollectorProcess

beforeAll(async () => {
  collector = await startQuickCollector()
})

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

/** Lets the service do its work and end. */
async function run(name: string, env: Record<string, string>): Promise<void> {
  const { code, stderr } = await startProgram(
    process.execPath,
    [join(import.meta.dirname, 'apps/in-code.app.mjs')],
    {
      env: {
        OTEL_SERVICE_NAME: name,
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.http,
        OTEL_METRICS_EXPORTER: 'none',
        OTEL_LOGS_EXPORTER: 'none',
        OTEL_NODE_RESOURCE_DETECTORS: 'env',
        ROOTSPAN_FINGERPRINT_KEY: 'a key of sixteen bytes or more',
        ROOTSPAN_LOG_LEVEL: 'warn',
        ...env,
      },
    },
  ).ends()
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
}

test.each([
  ['own path', { WRAPPED: 'yes', OWN: 'yes' }, 'memory'],
  ['both paths', { OWN: 'yes' }, 'memory'],
  ['the application’s', {}, 'batch'],
])('%s', async (name, { WRAPPED = '', OWN = '' }: { WRAPPED?: string; OWN?: string }, delivery) => {
  await run(name, { WRAPPED, ROOTSPAN_ENDPOINT: OWN === 'yes' ? collector.http : '' })
  const isMine = (resource: object): boolean => Object.entries(resource).some(([, value]) => value === name)
  const all = await everything(collector, (records) =>
    ['governance.goodbye', 'job', 'write'].every((span) =>
      records.some((one) => one.span === span && isMine(one.resource)),
    ),
  )
  const [life, ...others] = [...livesOf(all.filter(({ resource }) => isMine(resource))).values()]
  expect(others).toEqual([])
  expect(life).toMatchObject({ missing: [], broken: [] })
  expect([...life!.spans.values()].map((records) => records.map(({ span }) => span))).toEqual([
    ['governance.hello'],
    ['write'],
    ['job'],
    ['governance.goodbye'],
  ])
  expect(life!.goodbye!.claims).toMatchObject({ 'emitter.reason': 'shutdown', 'emitter.delivery': delivery })
})

test('a sampler that is not ours: the goodbye says how many facts nobody recorded', async () => {
  await run('unrecorded', { WRAPPED: 'yes', ROOTSPAN_ENDPOINT: collector.http, SAMPLER: 'signs' })
  const isMine = ({ span, resource }: Shown): boolean =>
    span === 'governance.goodbye' && resource['service.name'] === 'unrecorded'
  const all = await everything(collector, (records) => records.some(isMine))
  expect(all.find(isMine)!.claims['emitter.unrecorded']).toBe(1)
})

test('what is done after the shutdown goes into the spool, and a goodbye after it', async () => {
  const env = { WRAPPED: 'yes', ROOTSPAN_SPOOL: await makeDirectory() }
  await run('late', { ...env, LATE: 'yes' })
  const next = startApp(collector, 'ending.app.mjs', { ...env, ENDING: 'signal' })
  const ofLate = ({ resource }: Shown): boolean => resource['service.name'] === 'late'
  const all = await everything(collector, (records) =>
    ['late', 'write'].every((span) => records.some((one) => one.span === span && ofLate(one))),
  )
  const [life] = [...livesOf(all.filter(ofLate)).values()]
  expect(life).toMatchObject({ missing: [], broken: [] })
  expect([...life!.spans.values()].map(([one]) => one!.span)).toEqual([
    'governance.hello',
    'write',
    'job',
    'governance.goodbye',
    'late',
    'governance.goodbye',
  ])
  next.signal('SIGTERM')
  await next.ends()
})

test('hooks of libraries for `require` and for `import`', async () => {
  const apps = join(import.meta.dirname, 'apps')
  await expectHooks(collector, {
    file: join(apps, 'in-code-hooks.app.mjs'),
    flags: ['--import', join(apps, 'in-code.telemetry.mjs')],
  })
})
