/** What watching does to requests: nothing. Real clients and servers in one process, and what the hook saw of them. */

import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { context, createContextKey } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createLog } from '../../log.ts'
import type { Recorder } from '../../recorder.ts'
import { createScopes } from '../../scope.ts'
import { observe } from '../observe.ts'
import { type Exchange, type HttpHook, MAX_ANSWER, MAX_BODY } from './exchange.ts'
import { listenToHttp } from './listen.ts'

const KEY = createContextKey('caller')
const lines: string[] = []
const log = createLog('info', (line) => lines.push(line))

let seen: (Exchange & { caller: unknown })[] = []
let answer: (request: IncomingMessage, response: ServerResponse, body: Buffer) => void
let server: Server
let url: string
let stop: () => void

const hook: HttpHook = {
  name: 'test',
  matches: (path) => path.startsWith('/pdp'),
  questionIn: (query) => (query.startsWith('q=') ? { body: { q: query.slice(2) } } : undefined),
  record: (exchange) => {
    seen.push({ ...exchange, caller: context.active().getValue(KEY) })
    if (exchange.path === '/pdp/throws') throw new Error('a secret')
    return true
  },
}

beforeAll(async () => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  stop = listenToHttp([hook], { recorder: {} as Recorder, log, scopes: createScopes() })
  server = createServer(async (asked, response) =>
    answer(asked, response, Buffer.concat(await asked.toArray())),
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

afterAll(() => {
  stop()
  server.close()
  server.closeAllConnections()
  context.disable()
})

beforeEach(() => {
  seen = []
  lines.length = 0
  answer = (_, response, body) => response.end(JSON.stringify({ echo: JSON.parse(body.toString()) }))
})

type Client = (path: string, body: string, method?: string) => Promise<string>

const byFetch: Client = async (path, body, method = 'POST') =>
  (await fetch(url + path, { method, ...(body !== '' && { body }) })).text()

const byHttp: Client = (path, body, method = 'POST') =>
  new Promise((resolve, reject) => {
    const sent = request(url + path, { method }, (response) => {
      response.toArray().then((chunks) => resolve(Buffer.concat(chunks).toString()), reject)
    })
    sent.on('error', reject)
    sent.end(body)
  })

/** The one that OpenFGA's client brings along. */
const axios = createRequire(createRequire(import.meta.url).resolve('@openfga/sdk'))('axios') as {
  request(options: object): Promise<{ data: string }>
}

const byAxios: Client = async (path, body, method = 'POST') => {
  const plain = { responseType: 'text', transformResponse: (text: string) => text, maxBodyLength: Infinity }
  return (await axios.request({ url: url + path, method, data: body || undefined, ...plain })).data
}

const CLIENTS: [string, Client][] = [
  ['fetch', byFetch],
  ['node:http', byHttp],
  ['axios', byAxios],
]

test.each(CLIENTS)(
  '%s: question and answer are seen, before the caller has the answer, in its context',
  async (_, client) => {
    const text = await context.with(context.active().setValue(KEY, 'me'), () => client('/pdp?x=1', '{"a":1}'))
    expect(text).toBe('{"echo":{"a":1}}')
    expect(seen).toMatchObject([
      { path: '/pdp', request: { a: 1 }, answer: { status: 200, body: { echo: { a: 1 } } }, caller: 'me' },
    ])
  },
)

test.each(CLIENTS)(
  '%s: other paths and methods, and what a library asks, are left alone',
  async (_, client) => {
    expect(await client('/other', '{"a":1}')).toBe('{"echo":{"a":1}}')
    expect(await client('/pdp', '{"a":1}', 'PUT')).toBe('{"echo":{"a":1}}')
    answer = (_asked, response, body) => response.end(`{"echo":${body}}`)
    for (const path of ['/pdp', '/pdp?x=1', '/other?q=1'])
      expect(await client(path, '', 'GET')).toBe('{"echo":}')
    const library = observe(client, () => undefined, log, { asks: true })
    expect(await library('/pdp', '{"a":1}')).toBe('{"echo":{"a":1}}')
    expect(seen).toEqual([])
  },
)

test.each(CLIENTS)('%s: a GET that asks by its query is seen like a POST', async (_, client) => {
  answer = (_asked, response) => response.end('{"yes":true}')
  expect(await client('/pdp/x?q=me', '', 'GET')).toBe('{"yes":true}')
  expect(seen).toMatchObject([
    { path: '/pdp/x', request: { q: 'me' }, answer: { status: 200, body: { yes: true } } },
  ])
})

test.each(CLIENTS)('%s: bodies over the bound pass whole and are not kept', async (_, client) => {
  const large = JSON.stringify({ a: 'x'.repeat(4 * MAX_BODY) })
  expect(await client('/pdp', large)).toBe(`{"echo":${large}}`)
  const larger = JSON.stringify({ a: 'x'.repeat(2 * MAX_ANSWER) })
  expect(await client('/pdp', larger)).toBe(`{"echo":${larger}}`)
  expect(seen).toMatchObject([
    { request: undefined, answer: { status: 200, body: { echo: JSON.parse(large) }, size: 'large' } },
    { request: undefined, answer: { status: 200, body: undefined, size: 'too large' } },
  ])
  expect(seen[1]!.answer!.beginning).toMatch(/^\{"echo":\{"a":"x+$/)
})

test.each(CLIENTS)('%s: a compressed answer is read, one that explodes is not', async (_, client) => {
  const send = (value: unknown) => {
    answer = (_asked, response) => {
      response.setHeader('content-encoding', 'gzip').end(gzipSync(JSON.stringify(value)))
    }
  }
  send({ result: true })
  await client('/pdp', '{}')
  send('x'.repeat(2 * MAX_ANSWER))
  await client('/pdp', '{}')
  expect(seen.map(({ answer }) => [answer?.body, answer?.size])).toEqual([
    [{ result: true }, 'small'],
    [undefined, 'too large'],
  ])
})

test('headers of a question are seen, whoever sends it', async () => {
  const headers = { 'X-Request-ID': 'r1' }
  await (await fetch(`${url}/pdp`, { method: 'POST', body: '{}', headers })).text()
  await new Promise((resolve) => {
    const sent = request(`${url}/pdp`, { method: 'POST' }, (response) => response.resume().on('end', resolve))
    sent.setHeader('x-request-id', 'r2')
    sent.end('{}')
  })
  expect(seen.map(({ sentHeader }) => sentHeader('x-request-id'))).toEqual(['r1', 'r2'])
})

test.each(CLIENTS)('%s: an answer that breaks off is a failure', async (_, client) => {
  answer = (_asked, response) => {
    response.writeHead(200, { 'content-length': '100' }).write('{"result":')
    setImmediate(() => response.destroy())
  }
  await expect(client('/pdp', '{}')).rejects.toThrow()
  expect(seen).toHaveLength(1)
  expect(seen[0]).toMatchObject({ answer: undefined, failure: expect.stringMatching(/^\w+$/) })
})

test.each(CLIENTS)('%s: a hook that throws is not heard of by the application', async (_, client) => {
  expect(await client('/pdp/throws', '{}')).toBe('{"echo":{}}')
  expect(seen).toHaveLength(1)
  expect(lines.join()).not.toContain('secret')
})

test('an answer that the application does not read is not read for it', async () => {
  // More than the buffers of two sockets take.
  const total = 64 << 20
  let sent = 0
  answer = (_asked, response) => {
    const more = (): void => {
      while (sent < total) {
        sent += 64 << 10
        if (!response.write(Buffer.alloc(64 << 10, 32))) {
          response.once('drain', more)
          return
        }
      }
      response.end('{}')
    }
    more()
  }
  const response = await fetch(`${url}/pdp`, { method: 'POST', body: '{}' })
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(seen).toEqual([])
  expect(sent).toBeLessThan(total)
  expect((await response.arrayBuffer()).byteLength).toBe(total + 2)
  expect(seen).toHaveLength(1)
})

test('a stream as body is sent as it is', async () => {
  const body = new ReadableStream({
    start(controller) {
      for (const part of ['{"a"', ':', '1}']) controller.enqueue(new TextEncoder().encode(part))
      controller.close()
    },
  })
  const response = await fetch(`${url}/pdp`, { method: 'POST', body, duplex: 'half' } as RequestInit)
  expect(await response.json()).toEqual({ echo: { a: 1 } })
  expect(seen).toMatchObject([{ request: { a: 1 } }])
})

test('after the end nothing is seen', async () => {
  stop()
  expect(await byFetch('/pdp', '{"a":1}')).toBe('{"echo":{"a":1}}')
  expect(await byHttp('/pdp', '{"a":1}')).toBe('{"echo":{"a":1}}')
  expect(seen).toEqual([])
})
