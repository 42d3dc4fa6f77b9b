/** What is pushed over HTTP beside OTLP, through the real receiver: credentials first, then everything as for OTLP. */
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Budget } from '../../packages/collector/src/receiver/budget.ts'
import { startHttpReceiver } from '../../packages/collector/src/receiver/http.ts'
import { opaRoute } from '../../packages/collector/src/receiver/opa.ts'
import {
  type Received,
  Refusal,
  type RunningReceiver,
} from '../../packages/collector/src/receiver/receiver.ts'
import { readLogs } from '../support/logs.ts'
import { callHttp, type HttpCall } from './clients.ts'

const TOKEN = 'a-token-of-some-length'
const ENTRY = '[{"decision_id":"d-1","result":true}]'

let receiver: RunningReceiver
let received: Received[] = []
let pushBack = false
const counted = new Map<string, number>()

beforeAll(async () => {
  const ingest = async (request: Received) => {
    received.push(request)
    return { rejectedSpans: 0, message: '', position: received.length }
  }
  receiver = await startHttpReceiver({
    host: '127.0.0.1',
    port: 0,
    ingest,
    budget: new Budget(),
    counters: { add: (name, n) => counted.set(name, (counted.get(name) ?? 0) + n) },
    gate: () => (pushBack ? new Refusal('busy', 'later', { retryAfterSeconds: 2 }) : undefined),
    routes: new Map([['/opa/logs', opaRoute({ ingest, token: TOKEN, peer: 'opa', maxBytes: 4096 })]]),
  })
})
afterAll(() => receiver.close(0))

async function post(body: string | Uint8Array, { headers = {}, ...call }: HttpCall = {}) {
  received = []
  const answer = await callHttp(receiver.address, Buffer.from(body), {
    path: '/opa/logs',
    ...call,
    headers: { 'content-type': 'application/json', authorization: `Bearer ${TOKEN}`, ...headers },
  })
  return { status: answer.status, headers: answer.headers, text: answer.body.toString() }
}

test.each([
  ['plain', ENTRY, {}],
  ['gzip', gzipSync(ENTRY), { 'content-encoding': 'gzip' }],
])('%s is handed on as log records, under the name of who has the token', async (_, body, headers) => {
  expect(await post(body, { headers })).toMatchObject({ status: 200, text: '{}' })
  expect(received).toMatchObject([{ receiver: 'opa', signal: 'logs', peer: 'opa', tracked: false }])
  expect(readLogs(received[0]!.body).map(({ attributes }) => attributes['decision.id'])).toEqual(['d-1'])
})

describe('refused', () => {
  const refusals: [string, () => ReturnType<typeof post>, number][] = [
    ['without a token', () => post(ENTRY, { headers: { authorization: '' } }), 401],
    ['with another token', () => post(ENTRY, { headers: { authorization: `Bearer ${TOKEN}y` } }), 401],
    [
      'of another media type',
      () => post(ENTRY, { headers: { 'content-type': 'application/x-protobuf' } }),
      415,
    ],
    ['in another coding', () => post(ENTRY, { headers: { 'content-encoding': 'br' } }), 415],
    ['with another method', () => post(ENTRY, { method: 'PUT' }), 405],
    ['at another path', () => post(ENTRY, { path: '/opa' }), 404],
    ['malformed', () => post('[{]'), 400],
    ['not gzip', () => post(ENTRY, { headers: { 'content-encoding': 'gzip' } }), 400],
    ['too large', () => post(`[${' '.repeat(4096)}]`), 413],
    [
      'too large when it is unpacked',
      () => post(gzipSync(' '.repeat(100_000)), { headers: { 'content-encoding': 'gzip' } }),
      413,
    ],
  ]
  test.each(refusals)('%s', async (_, act, status) => {
    const answer = await act()
    expect(answer.status).toBe(status)
    expect(answer.headers['content-type']).toBe('application/json')
    expect(JSON.parse(answer.text)).toMatchObject({ message: expect.stringMatching(/./) })
    expect(answer.headers['www-authenticate']).toBe(status === 401 ? 'Bearer' : undefined)
    expect(received).toEqual([])
  })

  test('and counted by reason', () => {
    expect(counted.get('requests_refused_unauthenticated')).toBe(2)
  })

  test('pushed back like OTLP, after the credentials were looked at', async () => {
    pushBack = true
    expect(await post(ENTRY)).toMatchObject({ status: 503, headers: { 'retry-after': '2' } })
    expect(await post(ENTRY, { headers: { authorization: '' } })).toMatchObject({ status: 401 })
    pushBack = false
  })
})

test('OTLP itself asks for no token', async () => {
  const answer = await callHttp(receiver.address, new Uint8Array(0), { path: '/v1/logs' })
  expect(answer.status).toBe(200)
})
