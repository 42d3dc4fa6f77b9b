/**
 * A service that is told to end under load: nothing that it did until it died is lost, and its goodbye is the last of
 * it, whether or not there is a collector to say it to.
 */
import { readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { cleanUp, makeDirectory } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { everything, type Life, livesOf } from './lives.ts'
import { expectOneEach, load, named, restart, startCollector } from './outage.ts'
import { type Shown, select, startApplication } from './support.ts'

const FILE = 'evidence.app.mjs'

afterAll(cleanUp)

/** Ends the service under load, and lets the next one send what it left; what the log then says of the first. */
async function endUnderLoad(
  collector: CollectorProcess,
  isAway: boolean,
  hasSpool = true,
): Promise<{ life: Life; mine: Shown[]; traces: string[] }> {
  const directory = await makeDirectory()
  const env = { OTEL_SERVICE_NAME: 'first', ...(hasSpool && { ROOTSPAN_SPOOL: directory }) }
  const first = await startApplication(collector, FILE, env)
  const loading = load(first, '/traced')
  await sleep(1000)
  if (isAway) await collector.stop()
  first.process.signal('SIGTERM')
  const { code, stderr } = await first.process.ends()
  expect(code, stderr).toBe(null)
  const traces = await loading.died()
  const now = isAway ? await restart(collector) : collector
  const second = await startApplication(now, FILE, { ...env, OTEL_SERVICE_NAME: 'second' })
  const all = await everything(now, (records) => isWhole(records, traces))
  await second.stop()
  expect(await readdir(directory)).toEqual([])
  await now.stop()
  const mine = all.filter(({ resource }) => resource['service.name'] === 'first')
  const [life, ...others] = [...livesOf(mine).values()]
  expect(others).toEqual([])
  return { life: life!, mine, traces }
}

function isWhole(records: readonly Shown[], traces: readonly string[]): boolean {
  const done = new Set(select(records, 'action').map(({ traceId }) => traceId))
  return named(records, 'governance.goodbye', 'first').length > 0 && traces.every((one) => done.has(one))
}

function expectAll(records: readonly Shown[], kind: string, traces: readonly string[]): void {
  const found = new Set(select(records, kind).map(({ traceId }) => traceId))
  expect(traces.filter((one) => !found.has(one))).toEqual([])
}

/** The highest number is that of a goodbye. */
function expectGoodbyeAtLast({ spans }: Life): void {
  expect([...spans.values()].at(-1)![0]!.span).toBe('governance.goodbye')
}

test('SIGTERM under load while the collector is away, with a spool: nothing is lost, nothing comes after the goodbye', async () => {
  const { life, mine, traces } = await endUnderLoad(await startCollector(), true)
  expect(traces.length).toBeGreaterThan(50)
  expect(life).toMatchObject({ missing: [], broken: [] })
  expectOneEach(life)
  expectGoodbyeAtLast(life)
  expect(named(mine, 'governance.goodbye')).toHaveLength(1)
  expect(life.goodbye!.claims).toMatchObject({ 'emitter.reason': 'SIGTERM', 'emitter.dropped': 0 })
  for (const kind of ['request', 'decision', 'action']) expectAll(mine, kind, traces)
})

test('SIGTERM under load, with a collector: what ends while the goodbye is sent is followed by another', async () => {
  const { life, mine, traces } = await endUnderLoad(await startCollector(), false)
  expect(life).toMatchObject({ missing: [], broken: [] })
  expectOneEach(life)
  expectGoodbyeAtLast(life)
  for (const kind of ['request', 'decision', 'action']) expectAll(mine, kind, traces)
})

test('the same without a spool: all numbers are there, and every action that was answered', async () => {
  const { life, mine, traces } = await endUnderLoad(await startCollector(), false, false)
  expect(life).toMatchObject({ missing: [], broken: [] })
  expectGoodbyeAtLast(life)
  expectAll(mine, 'action', traces)
})
