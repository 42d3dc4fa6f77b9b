/** However a process ends that can still do something, its evidence is sent, it says goodbye, and it ends as without us. */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp, makeDirectory } from '../e2e/process.ts'
import { type CollectorProcess, startCollectorProcess } from '../e2e/support.ts'
import { everything, livesOf } from './lives.ts'
import { type Shown, select, startApp, startCode, startQuickCollector } from './support.ts'

const FILE = 'ending.app.mjs'
const POLICIES = JSON.stringify(join(import.meta.dirname, '../bench/policies.cjs'))

let collector: CollectorProcess

beforeAll(async () => {
  collector = await startQuickCollector()
})

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

const ofService = (name: string) => (all: readonly Shown[]) =>
  all.filter(({ resource }) => resource['service.name'] === name)

test.each([
  ['SIGTERM', 'signal', 'SIGTERM', null],
  ['SIGINT', 'signal', 'SIGINT', null],
  ['an exception that nobody catches', 'exception', undefined, 1],
  ['a rejection that nobody handles', 'rejection', undefined, 1],
  ['nothing left to do', 'end', undefined, 0],
  ['SIGTERM, with a listener of the application', 'own listener', 'SIGTERM', 0],
] as const)('%s', async (title, ending, signal, code) => {
  const name = title.replaceAll(/\W+/g, '-')
  // Without the timer: nothing is sent but at the end.
  const env = { ENDING: ending, OTEL_SERVICE_NAME: name, OTEL_BSP_SCHEDULE_DELAY: '60000' }
  const service = startApp(collector, FILE, env)
  if (signal !== undefined) {
    await service.says(/^done$/m)
    service.signal(signal)
  }
  const ended = await service.ends()
  expect(ended.code, ended.stderr).toBe(code)
  if (code === 1) expect(ended.stderr).toContain('Error: planned')
  const all = await everything(collector, (records) => select(ofService(name)(records), 'span').length >= 2)
  const mine = ofService(name)(all)
  expect(select(mine, 'decision', { 'decision.action.name': 'nightly' })).toHaveLength(1)
  const [life, ...others] = [...livesOf(mine).values()]
  expect(others).toEqual([])
  expect(life).toMatchObject({ missing: [], broken: [] })
  const isOwn = ending === 'own listener'
  expect([...life!.spans.values()].map(([one]) => one!.span)).toEqual([
    'governance.hello',
    'nightly',
    ...(isOwn ? ['closing'] : []),
    'governance.goodbye',
  ])
  expect(life!.goodbye!.traceId).toBe(life!.emitter)
  expect(life!.goodbye!.claims).toMatchObject({
    'emitter.reason': isOwn || ending === 'end' ? 'end' : (signal ?? 'exception'),
    'emitter.delivery': 'memory',
    'emitter.open': 0,
    'emitter.dropped': 0,
    'emitter.rejected': 0,
    'emitter.truncated': 0,
  })
})

const NEXT = { ENDING: 'signal', OTEL_SERVICE_NAME: 'next' }

test.each([['memory'], ['spool']])('process.exit at once: what waits in %s is not lost', async (kind) => {
  const spool = kind === 'spool' ? { ROOTSPAN_SPOOL: await makeDirectory() } : {}
  const name = `exit-${kind}`
  const env = { ENDING: 'exit', OTEL_BSP_SCHEDULE_DELAY: '60000', OTEL_SERVICE_NAME: name, ...spool }
  expect((await startApp(collector, FILE, env).ends()).code).toBe(3)
  // What is in a spool, another process sends.
  const next = startApp(collector, FILE, { ...NEXT, ...spool })
  const all = await everything(
    collector,
    (records) => select(ofService(name)(records), 'span', { 'emitter.reason': 'exit' }).length > 0,
  )
  const [life] = [...livesOf(ofService(name)(all)).values()]
  expect(life).toMatchObject({ missing: [], broken: [] })
  expect([...life!.spans.keys()]).toEqual([0, 1, 2])
  expect(life!.goodbye!.claims).toMatchObject({ 'emitter.open': 0, 'emitter.delivery': kind })
  next.signal('SIGTERM')
  await next.ends()
})

test('the goodbye says what had no room, what was cut, and what the collector refused', async () => {
  const strict = await startCollectorProcess({
    quietPeriod: '400ms',
    config: 'receivers:\n  http:\n    max_request_bytes: 256KiB\n',
  })
  const code = `
    import { trace } from '@opentelemetry/api'
    import { recordDecision, withExecution } from '@rootspan/instrumentation'
    const decide = (action, reason = 'test') => recordDecision({ outcome: 'allow', action, reason })
    withExecution({ name: 'crowded', kind: 'job' }, () => {
      decide('first', 'r'.repeat(2000))
      for (let at = 1; at < 100; at++) decide('action ' + at)
    })
    withExecution({ name: 'large', kind: 'job' }, () => {
      decide('large')
      trace.getActiveSpan().setAttribute('large', 'x'.repeat(1 << 20))
    })
  `
  const ended = await startCode(strict, code).ends()
  expect(ended, ended.stderr).toMatchObject({ code: 0 })
  const isWhole = (all: readonly Shown[]): boolean =>
    ['crowded', 'governance.goodbye'].every((span) => all.some((one) => one.span === span))
  const all = await everything(strict, isWhole)
  const [life] = [...livesOf(all).values()]
  expect(life!.missing).toHaveLength(1)
  expect(all.find(({ span }) => span === 'crowded')!.attributes['governance.truncated.facts']).toBe(4)
  expect(life!.goodbye!.claims).toMatchObject({
    'emitter.truncated': 5,
    'emitter.rejected': 1,
    'emitter.dropped': 0,
  })
  await strict.stop()
})

/** Much that has not ended, and a listener that ends the process at once, in the middle of more. */
const HASTY = `
  import { AsyncResource } from 'node:async_hooks'
  import { defineAbility } from '@casl/ability'
  import * as casbin from 'casbin'
  import { governedAction, recordVerification, withExecution } from '@rootspan/instrumentation'
  import { MODEL, POLICY } from ${POLICIES}
  const enforcer = await casbin.newEnforcer(casbin.newModelFromString(MODEL), new casbin.StringAdapter(POLICY))
  await enforcer.enforce('user-1', 'orders', 'read')
  const ability = defineAbility((can) => can('read', 'Order'))
  const never = new Promise(() => {})
  const check = (times) => {
    for (let at = 0; at < times; at++) ability.can('read', 'Order')
  }
  withExecution({ name: 'nightly', kind: 'job' }, () => {
    check(100)
    governedAction({ name: 'export', type: 'communicate' }, () => never)
    process.on('SIGTERM', AsyncResource.bind(() => {
      check(7)
      recordVerification({ type: 'credential', result: 'pass', method: 'the last check' })
      enforcer.model.addPolicy('p', 'p', ['mallory', 'orders', 'read'])
      process.exit(3)
    }))
    return never
  })
  withExecution({ name: 'idle', kind: 'job' }, () => never)
  // Timers end in their order: what is kept again after a second is kept by then.
  setTimeout(() => console.log('working'), 1000)
  setInterval(() => {}, 1000)
`
test.each([
  ['SIGTERM', 107],
  ['SIGKILL', 100],
] as const)(
  '%s, where the application leaves no time: with a spool nothing governed is lost',
  async (signal, count) => {
    const directory = await makeDirectory()
    const name = `hasty-${signal}`
    const service = startCode(collector, HASTY, { ROOTSPAN_SPOOL: directory, OTEL_SERVICE_NAME: name })
    await service.says(/^working$/m)
    service.signal(signal)
    expect((await service.ends()).code).toBe(signal === 'SIGTERM' ? 3 : null)
    const next = startApp(collector, FILE, { ...NEXT, ROOTSPAN_SPOOL: directory })
    const isWhole = (all: readonly Shown[]): boolean =>
      select(all, 'decision', { 'decision.engine.name': 'casl' }).some(
        ({ resource }) => resource['service.name'] === name,
      )
    const mine = ofService(name)(await everything(collector, isWhole))
    const [checks, ...others] = select(mine, 'decision', { 'decision.engine.name': 'casl' })
    expect(others).toEqual([])
    expect(checks!.claims['decision.count']).toBe(count)
    expect(checks!.above).toMatchObject({ span: 'nightly', claims: { 'emitter.unfinished': true } })
    expect(select(mine, 'action', { 'action.name': 'export' })).toHaveLength(1)
    if (signal === 'SIGTERM') {
      expect(select(mine, 'verification', { 'verification.method': 'the last check' })).toHaveLength(1)
      expect(select(mine, 'transition', { 'transition.trigger': 'addPolicy' })).toHaveLength(1)
      expect(
        select(mine, 'request', { 'emitter.unfinished': true })
          .map(({ span }) => span)
          .sort(),
      ).toEqual(['idle', 'nightly'])
      const [life] = [...livesOf(mine).values()]
      expect(life).toMatchObject({ missing: [], broken: [] })
      expect(life!.goodbye!.claims).toMatchObject({ 'emitter.reason': 'exit', 'emitter.open': 3 })
    }
    next.signal('SIGTERM')
    await next.ends()
  },
)

test('SIGTERM, where the application leaves no time: without a spool it is known what is missing', async () => {
  const env = { OTEL_SERVICE_NAME: 'hasty', ROOTSPAN_HEARTBEAT_MILLIS: '700' }
  const service = startCode(collector, HASTY, env)
  const isAlive = (all: readonly Shown[]): boolean =>
    select(ofService('hasty')(all), 'span', { 'emitter.open': 3 }).length > 0
  await everything(collector, isAlive)
  await service.says(/^working$/m)
  service.signal('SIGTERM')
  expect((await service.ends()).code).toBe(3)
  const isOver = (all: readonly Shown[]): boolean =>
    select(ofService('hasty')(all), 'span', { 'emitter.reason': 'exit' }).length > 0
  const mine = ofService('hasty')(await everything(collector, isOver))
  expect(select(mine, 'action')).toEqual([])
  const [life, ...others] = [...livesOf(mine).values()]
  expect(others).toEqual([])
  // What had ended came, and with it that there were three governed spans that never did.
  expect(life).toMatchObject({ missing: [], broken: [] })
  expect(life!.goodbye!.claims).toMatchObject({ 'emitter.open': 3, 'emitter.delivery': 'memory' })
})

test('what is held back is recorded before the goodbye: nothing comes after it', async () => {
  const code = `
    import * as casbin from 'casbin'
    import { MODEL, POLICY } from ${POLICIES}
    const enforcer = await casbin.newEnforcer(casbin.newModelFromString(MODEL), new casbin.StringAdapter(POLICY))
    await enforcer.enforce('user-1', 'orders', 'read')
  `
  const service = startCode(collector, code, { OTEL_SERVICE_NAME: 'outside' })
  const ended = await service.ends()
  expect(ended, ended.stderr).toMatchObject({ code: 0 })
  const isWhole = (all: readonly Shown[]) =>
    ofService('outside')(all).some(({ span }) => span === 'governance.goodbye')
  const mine = ofService('outside')(await everything(collector, isWhole))
  expect(select(mine, 'decision', { 'decision.outcome': 'allow' })).toHaveLength(1)
  const [life] = [...livesOf(mine).values()]
  expect(life).toMatchObject({ missing: [], broken: [] })
  expect([...life!.spans.values()].at(-1)![0]!.span).toBe('governance.goodbye')
})
