// A service that governs what it does by the API. It says `decided` and `doing` so that a test can kill it there.
import { createServer } from 'node:http'
import { trace } from '@opentelemetry/api'
import {
  actionDigest,
  GateError,
  gate,
  governedAction,
  RefusedError,
  recordDecision,
  recordTransition,
  recordVerification,
  withAuthorization,
  withExecution,
} from '../../../packages/instrumentation/src/index.ts'

const forever = () => new Promise(() => {})
const transfer = (url) => ({
  name: 'accounts.transfer',
  type: 'transfer',
  reversible: false,
  resourceType: 'account',
  resourceId: 'account-17',
  arguments: { note: 'argument-in-clear', amount: Number(url.searchParams.get('amount') ?? 5) },
})

const handlers = {
  '/work': async (url) => {
    const action = transfer(url)
    const decision = recordDecision({
      outcome: url.searchParams.get('outcome') ?? 'allow',
      enforcement: url.searchParams.get('enforcement') ?? undefined,
      engine: 'test',
      policyId: 'transfers',
      actionDigest: actionDigest(action),
    })
    return governedAction({ ...action, decision, resultOf: (done) => done }, () => ({
      receipt: 'result-in-clear',
    }))
  },
  // Beside it, a span that is not governed: that one is the SDK's to send.
  '/traced': (url) => {
    trace.getTracer('service').startSpan('ordinary').end()
    return handlers['/work'](url)
  },
  '/mutated': async (url) => {
    const action = transfer(url)
    const decision = recordDecision({ outcome: 'allow', actionDigest: actionDigest(action) })
    return governedAction({ ...action, arguments: { amount: 5000 }, decision }, () => 'done')
  },
  '/failing': async (url) =>
    governedAction(transfer(url), () => {
      throw new TypeError('secret-in-error')
    }),
  '/between': async () => {
    recordDecision({ outcome: 'allow', engine: 'test', policyId: 'transfers' })
    console.log('decided')
    return forever()
  },
  '/during': async (url) => {
    const decision = recordDecision({ outcome: 'allow', engine: 'test' })
    return governedAction({ ...transfer(url), decision }, () => {
      console.log('doing')
      return forever()
    })
  },
  '/gated': async (url) => {
    const decision = recordDecision({ outcome: 'allow', engine: 'test', policyId: 'transfers' })
    const timeoutMillis = Number(url.searchParams.get('millis') ?? 20_000)
    const unacknowledged = url.searchParams.get('unacknowledged') ?? 'refuse'
    return governedAction(
      { ...transfer(url), decision, gate: { timeoutMillis, unacknowledged } },
      () => 'done',
    )
  },
  '/gate': () => gate({ action: { name: 'wipe', type: 'delete' }, timeoutMillis: 20_000 }),
  '/exchanged': () =>
    withAuthorization(
      { token: 'exchanged-token-in-clear', type: 'opaque', verification: 'verified', method: 'exchange' },
      () => governedAction({ name: 'call', type: 'execute' }, () => 'done'),
    ),
  '/others': () => {
    recordVerification({
      type: 'approval',
      result: 'pass',
      method: 'four eyes',
      token: 'approval-token-in-clear',
    })
    recordTransition({ type: 'mode', from: 'dry_run', to: 'enforced', trigger: 'operator' })
    return 'recorded'
  },
  '/job': () =>
    withExecution({ name: 'nightly', kind: 'job', id: 'job-1', parentId: 'plan-1' }, () => 'done'),
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://localhost')
  try {
    const result = await handlers[url.pathname](url)
    response.end(JSON.stringify(result))
  } catch (error) {
    response.statusCode = error instanceof RefusedError ? 403 : error instanceof GateError ? 503 : 500
    response.end(`${error.name} ${error.reason ?? ''}`.trim())
  }
})
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
