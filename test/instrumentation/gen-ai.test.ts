/** Spans of agent SDKs that follow `gen_ai.*`: what the collector's records make of them. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import {
  type Application,
  recordsOf,
  type Shown,
  select,
  startApplication,
  startQuickCollector,
} from './support.ts'

let collector: CollectorProcess
let agent: Application

beforeAll(async () => {
  collector = await startQuickCollector()
  agent = await startApplication(collector, 'gen-ai.app.mjs', { OTEL_TRACES_SAMPLER: 'always_off' })
})

afterAll(async () => {
  await agent?.stop()
  await collector?.stop()
  await cleanUp()
})

function tool(records: readonly Shown[]): Shown {
  const [action, ...others] = select(records, 'action', { 'action.type': 'execute' })
  expect(others).toEqual([])
  return action!
}

test.each(['early', 'late'])(
  'a tool whose attributes come %s is an action with its name and id',
  async (how) => {
    const records = await recordsOf(collector, await agent.request(`/agent?how=${how}`), { spans: 5 })
    const action = tool(records)
    expect(action.claims).toMatchObject({
      'action.id': 'call-1',
      'action.name': 'pay',
      'action.inferred': true,
      'action.outcome': 'success',
    })
    // Content is committed to where the SDK has it; else nothing is said of it.
    const commitments = [
      action.claims['action.arguments.commitment'],
      action.claims['action.result.commitment'],
    ]
    if (how === 'early') expect(commitments).toEqual([undefined, undefined])
    else {
      for (const one of commitments) expect(one).toMatch(/^hmac-sha256:/)
      // And these stand for it on the span itself.
      const { attributes } = action
      expect([attributes['gen_ai.tool.call.arguments'], attributes['gen_ai.tool.call.result']]).toEqual(
        commitments,
      )
    }
    // Within a request, an agent is a step of it; what the tool does is an action below.
    expect(action.above).toMatchObject({ kind: 'span', span: 'invoke_agent planner' })
    expect(select(records, 'action', { 'action.name': 'POST 127.0.0.1' })[0]!.above).toBe(action)
  },
)

test('a tool that fails', async () => {
  const records = await recordsOf(collector, await agent.request('/agent?how=broken'), { spans: 3 })
  expect(tool(records).claims).toMatchObject({ 'action.id': 'call-1', 'action.outcome': 'failure' })
})

test('an agent with nobody above it is a request, recorded whatever the sampler says', async () => {
  const { body: traceId } = await agent.request('/job')
  const records = await recordsOf(collector, { traceId }, { spans: 4 })
  const [request] = select(records, 'request', { 'execution.kind': 'agent' })
  expect(request).toMatchObject({ span: 'invoke_agent planner', above: undefined })
  expect(request!.claims).toMatchObject({
    'execution.id': traceId,
    'emitter.sampling': 'sampler_overruled',
  })
  expect(tool(records).above).toBe(request)
})
