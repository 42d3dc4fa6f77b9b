/**
 * A service that is killed between decision and action, and a collector that is away under load: with a spool nothing
 * governed is lost, and there is one record for each span; without one, the records prove the gap.
 *
 * `OUTAGE_MILLIS` sets how long the collector is away: nothing here depends on it.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, readdir, readFile, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { cleanUp, makeDirectory, waitFor } from '../e2e/process.ts'
import { tryPowerDisk } from '../support/power-disk.ts'
import { everything, livesOf } from './lives.ts'
import { expectOneEach, kill, load, named, restart, startCollector, startRelay } from './outage.ts'
import { fingerprint, type Shown, select, startApplication, startCode } from './support.ts'
import { claimsOf, sign } from './tokens.ts'

const OUTAGE_MILLIS = Number(process.env.OUTAGE_MILLIS ?? 10_000)
/** Of a whole test, and of waiting for what an outage left: both grow with it. */
const TEST_MILLIS = 120_000 + 4 * OUTAGE_MILLIS
const WAIT_MILLIS = 60_000 + 2 * OUTAGE_MILLIS
const FILE = 'evidence.app.mjs'

const disk = tryPowerDisk()

afterAll(async () => {
  await cleanUp()
  disk?.remove()
})

test('killed between decision and action, with a spool: the next process sends both', async () => {
  const collector = await startCollector()
  const directory = await makeDirectory()
  const env = { ROOTSPAN_SPOOL: directory, OTEL_BSP_SCHEDULE_DELAY: '60000' }
  const first = await startApplication(collector, FILE, { ...env, OTEL_SERVICE_NAME: 'first' })
  expect((await first.request('/work')).status).toBe(200)
  void first.request('/between').catch(() => {})
  void first.request('/during').catch(() => {})
  await first.process.says(/^decided$/m)
  await first.process.says(/^doing$/m)
  await kill(first)
  await expectNoSecrets(directory)

  const second = await startApplication(collector, FILE, {
    ROOTSPAN_SPOOL: directory,
    OTEL_SERVICE_NAME: 'second',
  })
  const all = await everything(collector, (records) => named(records, 'governance.recovery').length > 0)
  const [recovery] = named(all, 'governance.recovery')
  const life = livesOf(all).get(String(recovery!.claims['emitter.recovered.id']))!
  expect(life).toMatchObject({ missing: [], broken: [], goodbye: undefined })
  expectOneEach(life)
  // The requests of /between and /during, and the action of /during, had not ended.
  expect(recovery!.claims['emitter.recovered.unfinished']).toBe(3)
  expect(recovery!.claims['emitter.recovered.torn_bytes']).toBe(0)
  const unfinished = all.filter(({ claims }) => claims['emitter.unfinished'] === true)
  expect(unfinished.map(({ kind }) => kind).sort()).toEqual(['action', 'request', 'request'])
  for (const one of unfinished) expect(one.claims['emitter.id']).toBe(life.emitter)
  const action = unfinished.find(({ kind }) => kind === 'action')!
  expect(action.claims).toMatchObject({ 'action.name': 'accounts.transfer', 'action.type': 'transfer' })
  expect(action.claims['action.outcome']).toBeUndefined()
  const decisions = all.filter(({ kind, above }) => kind === 'decision' && unfinished.includes(above!))
  expect(decisions).toHaveLength(2)
  expect(decisions.map(({ claims }) => claims['decision.id'])).toContain(action.claims['decision.id'])
  await second.stop()
  expect(await readdir(directory)).toEqual([])
  await collector.stop()
})

test('killed when a token was verified and nothing else had happened, with a spool: it is known who was there', async () => {
  const collector = await startCollector()
  const directory = await makeDirectory()
  const env = { ROOTSPAN_SPOOL: directory, OTEL_BSP_SCHEDULE_DELAY: '60000', JWT_KEY: 'a key' }
  const first = await startApplication(collector, 'jsonwebtoken.app.cjs', env)
  const token = sign(claimsOf(), env.JWT_KEY)
  void first.request('/waiting', { headers: { authorization: `Bearer ${token}` } }).catch(() => {})
  await first.process.says(/^waiting$/m)
  await kill(first)

  const second = await startApplication(collector, FILE, { ROOTSPAN_SPOOL: directory })
  const all = await everything(collector, (records) => select(records, 'authorization').length > 0)
  const [artifact] = select(all, 'authorization', { 'authorization.fingerprint': fingerprint(token) })
  expect(artifact!.claims['authorization.verification']).toBe('verified')
  expect(artifact!.above!.claims['emitter.unfinished']).toBe(true)
  expect(select(all, 'verification', { 'verification.result': 'pass' })).toHaveLength(1)
  await second.stop()
  await collector.stop()
})

test('the power is lost in the middle of a write: what was whole is sent, and what was torn is said', async () => {
  const collector = await startCollector()
  const directory = await makeDirectory()
  const env = { ROOTSPAN_SPOOL: directory, OTEL_BSP_SCHEDULE_DELAY: '60000' }
  const first = await startApplication(collector, FILE, { ...env, OTEL_SERVICE_NAME: 'first' })
  const whole = await first.request('/work')
  const torn = await first.request('/work')
  const [newest] = (await readdir(directory)).filter((name) => name.endsWith('.spool')).slice(-1)
  const path = join(directory, newest!)
  // The newest frame is that of the second request once it has ended; only then does it know its status.
  await waitFor('both requests to be in the spool', async () => {
    const text = await readFile(path, 'latin1')
    return text.split('http.response.status_code').length > 2 ? true : undefined
  })
  await kill(first)
  const { size } = await stat(path)
  await truncate(path, size - 5)

  const second = await startApplication(collector, FILE, {
    ROOTSPAN_SPOOL: directory,
    OTEL_SERVICE_NAME: 'second',
  })
  const all = await everything(collector, (records) => named(records, 'governance.recovery').length > 0)
  const [recovery] = named(all, 'governance.recovery')
  expect(recovery!.claims['emitter.recovered.unfinished']).toBe(1)
  expect(recovery!.claims['emitter.recovered.torn_bytes']).toBeGreaterThan(0)
  const life = livesOf(all).get(String(recovery!.claims['emitter.recovered.id']))!
  expect(life).toMatchObject({ missing: [], broken: [], goodbye: undefined })
  expectOneEach(life)
  const requestOf = ({ traceId }: { traceId: string }): Shown =>
    select(all, 'request').find((one) => one.traceId === traceId)!
  expect(requestOf(whole).claims['emitter.unfinished']).toBeUndefined()
  // Of the torn one there is what was written when it decided: without an end, and without a number.
  expect(requestOf(torn).claims['emitter.unfinished']).toBe(true)
  expect(requestOf(torn).claims['emitter.seq']).toBeUndefined()
  expect(select(all, 'action', { 'action.outcome': 'success' })).toHaveLength(2)
  await second.stop()
  expect(await readdir(directory)).toEqual([])
  await collector.stop()
})

test.skipIf(disk === undefined)(
  'the power of the disk is lost under load: what was synced is sent, in a chain without a gap',
  async () => {
    const collector = await startCollector()
    const directory = join(disk!.directory, 'spool')
    await mkdir(directory)
    const env = { ROOTSPAN_SPOOL: directory, OTEL_BSP_SCHEDULE_DELAY: '60000' }
    const first = await startApplication(collector, FILE, { ...env, OTEL_SERVICE_NAME: 'first' })
    const whole = [await first.request('/work'), await first.request('/work')]
    // Without another write: the spool syncs what was written within a second, the kernel by itself after 30.
    const onDisk = (): true | undefined => {
      const cut = disk!.cut()
      const left = join(disk!.open(cut), 'spool')
      const names = existsSync(left) ? readdirSync(left).filter((name) => name.endsWith('.spool')) : []
      const text = names.map((name) => readFileSync(join(left, name), 'latin1')).join('')
      disk!.drop(cut)
      return text.split('http.response.status_code').length > 2 ? true : undefined
    }
    await waitFor('both requests to be on the disk', onDisk, 20_000)
    const loading = load(first)
    await sleep(500)
    const last = disk!.cut()
    await loading.stop()
    await kill(first)

    const left = join(disk!.open(last), 'spool')
    const second = await startApplication(collector, FILE, {
      ROOTSPAN_SPOOL: left,
      OTEL_SERVICE_NAME: 'second',
    })
    const all = await everything(collector, (records) => named(records, 'governance.recovery').length > 0)
    const [recovery] = named(all, 'governance.recovery')
    const life = livesOf(all).get(String(recovery!.claims['emitter.recovered.id']))!
    expect(life).toMatchObject({ missing: [], broken: [], goodbye: undefined })
    expectOneEach(life)
    for (const { traceId } of whole) {
      const kinds = all.filter((one) => one.traceId === traceId && !one.claims['emitter.unfinished'])
      expect(kinds.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['request', 'decision', 'action']))
    }
    await second.stop()
    expect(await readdir(left)).toEqual([])
    disk!.drop(last)
    await collector.stop()
  },
)

test('killed between decision and action, without a spool: what is missing is known', async () => {
  const collector = await startCollector()
  const service = await startApplication(collector, FILE, { ROOTSPAN_HEARTBEAT_MILLIS: '200' })
  void service.request('/between').catch(() => {})
  await service.process.says(/^decided$/m)
  const isAlive = (records: Shown[]): boolean =>
    named(records, 'governance.heartbeat').some(({ claims }) => claims['emitter.open'] === 1)
  await everything(collector, isAlive)
  await kill(service)
  const all = await everything(collector, isAlive)
  expect(select(all, 'decision')).toEqual([])
  const [life] = [...livesOf(all).values()]
  expect(life).toMatchObject({ missing: [], broken: [] })
  // It has not said goodbye, and its last heartbeat knew of a governed span that never came.
  expect(life!.goodbye).toBeUndefined()
  expect([...life!.spans.values()].at(-1)![0]!.claims['emitter.open']).toBe(1)
  await collector.stop()
})

test('the collector is away under load, with a spool: nothing is lost, nothing is recorded twice', {
  timeout: TEST_MILLIS,
}, async () => {
  let collector = await startCollector()
  const directory = await makeDirectory()
  const env = { ROOTSPAN_SPOOL: directory, OTEL_SERVICE_NAME: 'spooled', ROOTSPAN_HEARTBEAT_MILLIS: '500' }
  const service = await startApplication(collector, FILE, env)
  const before = load(service)
  await sleep(1000)
  await collector.stop()
  await sleep(OUTAGE_MILLIS)
  await expectNoSecrets(directory)
  const traces = await before.stop()
  // Another process over the same directory finds files that are not its own to send.
  const other = await startApplication(collector, FILE, { ...env, OTEL_SERVICE_NAME: 'other' })
  expect((await other.request('/work')).status).toBe(200)
  await kill(service)
  // And the service comes again before the collector does.
  const again = await startApplication(collector, FILE, { ...env, OTEL_SERVICE_NAME: 'again' })
  collector = await restart(collector)
  const isSent = async (): Promise<true | undefined> => {
    const emitters = new Set((await readdir(directory)).map((name) => name.split('.')[0]))
    return emitters.size === 2 ? true : undefined
  }
  await waitFor('the spool of the dead process to be sent', isSent, WAIT_MILLIS)
  await other.stop()
  await again.stop()
  expect(await readdir(directory)).toEqual([])
  const all = await everything(collector, (records) => isComplete(records, traces.length + 1, 3), WAIT_MILLIS)
  const lives = [...livesOf(all).values()]
  expect(lives).toHaveLength(3)
  for (const life of lives) {
    expect(life).toMatchObject({ missing: [], broken: [] })
    expectOneEach(life)
  }
  const of = (kind: string): Shown[] =>
    select(all, kind).filter(({ resource }) => resource['service.name'] === 'spooled')
  for (const kind of ['request', 'decision', 'action'])
    expect(new Set(of(kind).map(({ traceId }) => traceId))).toEqual(new Set(traces))
  expect(named(all, 'governance.recovery')).toHaveLength(1)
  await collector.stop()
})

test('the collector is killed under load, before it could acknowledge what it has, with a spool: nothing is lost, nothing is recorded twice', async () => {
  let collector = await startCollector()
  const relay = await startRelay(collector.http)
  const directory = await makeDirectory()
  const env = { ROOTSPAN_SPOOL: directory, OTEL_SERVICE_NAME: 'spooled' }
  const service = await startApplication({ http: relay.url }, FILE, env)
  const loading = load(service)
  await sleep(1000)
  // It is durable, by the receipt, and the service does not know.
  relay.hold()
  await waitFor('an answer that is kept back', () => /rootspan-receipt: \d+/i.test(relay.held()) || undefined)
  collector.process.signal('SIGKILL')
  await collector.process.ends()
  relay.release()
  await sleep(2000)
  collector = await restart(collector)
  await sleep(1000)
  const traces = await loading.stop()
  await service.stop()
  relay.close()
  expect(await readdir(directory)).toEqual([])
  const all = await everything(collector, (records) => isComplete(records, traces.length, 2))
  const [life, ...others] = [...livesOf(all).values()]
  expect(others).toEqual([])
  expect(life).toMatchObject({ missing: [], broken: [] })
  expectOneEach(life!)
  expect(life!.goodbye!.claims).toMatchObject({ 'emitter.dropped': 0, 'emitter.rejected': 0 })
  expect(life!.goodbye!.claims['emitter.failures']).toBeGreaterThan(0)
  for (const kind of ['request', 'decision', 'action']) {
    const found = select(all, kind).map(({ traceId }) => traceId)
    expect(found.sort()).toEqual([...traces].sort())
  }
  await collector.stop()
})

test('the collector is away under load, without a spool: the records prove how much is missing', {
  timeout: TEST_MILLIS,
}, async () => {
  let collector = await startCollector()
  const env = { OTEL_BSP_MAX_QUEUE_SIZE: '40', ROOTSPAN_HEARTBEAT_MILLIS: '300' }
  const service = await startApplication(collector, FILE, env)
  const before = load(service)
  await sleep(1000)
  await collector.stop()
  await sleep(OUTAGE_MILLIS)
  const traces = await before.stop()
  collector = await restart(collector)
  // A heartbeat from after the outage has come through: there is room again.
  await everything(collector, (records) =>
    named(records, 'governance.heartbeat').some(({ claims }) => Number(claims['emitter.failures']) > 0),
  )
  const after = await service.request('/work')
  await service.stop()
  // Traces of which something is missing settle late.
  const all = await everything(collector, (records) => {
    const [goodbye] = named(records, 'governance.goodbye')
    const [known] = [...livesOf(records).values()]
    return goodbye !== undefined && known!.missing.length <= Number(goodbye.claims['emitter.dropped'])
  })
  const [life, ...others] = [...livesOf(all).values()]
  expect(others).toEqual([])
  expect(life!.missing.length).toBeGreaterThan(0)
  // Around the gap the chain holds, and the goodbye knows how many it lost: as many as are missing.
  expect(life!.broken).toEqual([])
  expectOneEach(life!)
  expect(life!.goodbye!.claims['emitter.dropped']).toBe(life!.missing.length)
  expect(life!.goodbye!.claims['emitter.failures']).toBeGreaterThan(0)
  // It is the requests of the outage that are missing.
  const recorded = new Set(select(all, 'request').map(({ traceId }) => traceId))
  expect(traces.filter((traceId) => !recorded.has(traceId)).length).toBeGreaterThan(0)
  expect(recorded).toContain(after.traceId)
  await collector.stop()
})

function isComplete(records: readonly Shown[], requests: number, lives: number): boolean {
  return (
    select(records, 'request').length >= requests &&
    select(records, 'action').length >= requests &&
    named(records, 'governance.goodbye').length >= lives - 1
  )
}

async function expectNoSecrets(directory: string): Promise<void> {
  const names = await readdir(directory)
  expect(names.some((name) => name.endsWith('.spool'))).toBe(true)
  for (const name of names) {
    const bytes = await readFile(join(directory, name))
    if (name.endsWith('.spool')) expect(bytes.includes('governance.action.arguments.commitment')).toBe(true)
    expect(bytes.includes('in-clear'), name).toBe(false)
  }
}

test('what a job does is recorded where its trace is not: by a ratio, or by who asked for it', async () => {
  const collector = await startCollector()
  const code = `
    import { createServer } from 'node:http'
    import { once } from 'node:events'
    import { context, propagation, trace } from '@opentelemetry/api'
    const server = createServer((request, response) => response.end()).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = 'http://127.0.0.1:' + server.address().port
    const post = () => fetch(url, { method: 'POST' }).then((response) => response.text())
    await post()
    const traceparent = '00-' + '7'.repeat(32) + '-' + '8'.repeat(16) + '-00'
    const asked = propagation.extract(context.active(), { traceparent })
    await trace.getTracer('jobs').startActiveSpan('job', {}, asked, async (span) => {
      await post()
      span.end()
    })
    server.close()
    server.closeAllConnections()
  `
  const env = { OTEL_SERVICE_NAME: 'job', OTEL_TRACES_SAMPLER: 'parentbased_always_off' }
  const ended = await startCode(collector, code, env).ends()
  expect(ended, ended.stderr).toMatchObject({ code: 0 })
  // The job's own span is not recorded, so that its trace is not whole before its time is over.
  const all = await everything(collector, (records) => select(records, 'action').length >= 2)
  const actions = select(all, 'action')
  expect(actions.map(({ claims }) => claims['action.name'])).toEqual(['POST 127.0.0.1', 'POST 127.0.0.1'])
  expect(actions.map(({ claims }) => claims['emitter.sampling'])).toEqual([
    'sampler_overruled',
    'sampler_overruled',
  ])
  expect(actions.map(({ traceId }) => traceId)).toContain('7'.repeat(32))
  await collector.stop()
})
