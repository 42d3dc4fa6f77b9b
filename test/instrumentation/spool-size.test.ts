/**
 * How much of the spool a request takes while there is no collector, for the service of the guide "Instrument a service
 * in five minutes", and so for how long the spool's default size lasts: what docs/instrument/continuity.md says.
 */
import { readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readConfig } from '../../packages/instrumentation/src/config.ts'
import { root } from '../../scripts/workspace.ts'
import { cleanUp, makeDirectory } from '../e2e/process.ts'
import { freePort } from '../support/port.ts'
import { startService } from './support.ts'
import { claimsOf, sign } from './tokens.ts'

const ORDERS = 200
const JWT_KEY = 'a key'

afterAll(cleanUp)

const page = (name: string): string => readFileSync(join(root, 'docs/instrument', name), 'utf8')

/** Bytes of the spool's files. */
const sizeOf = (directory: string): number =>
  readdirSync(directory)
    .filter((name) => name.endsWith('.spool'))
    .reduce((sum, name) => sum + statSync(join(directory, name)).size, 0)

test('an order takes what the page says, and the default size lasts as long', async () => {
  const directory = await makeDirectory()
  writeFileSync(join(directory, 'app.mjs'), /```js app\.mjs\n(.*?)```/s.exec(page('five-minutes.md'))![1]!)
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
  const spool = await makeDirectory()
  const port = await freePort()
  const service = await startService(
    { http: `http://127.0.0.1:${await freePort()}` },
    {
      name: 'shop',
      file: join(directory, 'app.mjs'),
      env: {
        JWT_KEY,
        PORT: String(port),
        ROOTSPAN_SPOOL: spool,
        // All that a resource has by default is on the disk with each span.
        OTEL_NODE_RESOURCE_DETECTORS: '',
      },
      listening: /listening on \d+/,
      url: `http://127.0.0.1:${port}`,
    },
  )
  const headers = { authorization: `Bearer ${sign(claimsOf({ sub: 'alice' }), JWT_KEY)}` }
  const order = async (): Promise<void> =>
    expect((await service.request('/orders', { method: 'POST', headers })).status).toBe(201)
  await order()
  const before = sizeOf(spool)
  for (let at = 0; at < ORDERS; at++) await order()
  const bytes = (sizeOf(spool) - before) / ORDERS
  console.log(`${bytes.toFixed(0)} bytes in the spool for an order`)
  expect((await service.stop()).stderr).not.toContain('the spool is full')
  const [, saidBytes, saidOrders] = /takes\s+(\d+) kB.*?for an hour at\s+(\d+) orders a second/s.exec(
    page('continuity.md'),
  )!
  expectNear(bytes / 1000, Number(saidBytes))
  const { maxBytes } = readConfig({ ROOTSPAN_SPOOL: spool }).spool!
  expectNear(maxBytes / bytes / 3600, Number(saidOrders))
})

/** Names of hosts, users and paths, which are on the resource, differ in length. */
function expectNear(value: number, said: number): void {
  expect(value).toBeGreaterThan(0.85 * said)
  expect(value).toBeLessThan(1.15 * said)
}
