/** Statements of a database client that nobody here wrote: what writes is an action, what reads is none. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { freePort } from '../support/port.ts'
import { directoryOf, installPrograms, type Programs } from './foreign.ts'
import { everything } from './lives.ts'
import { select, startQuickCollector, startService } from './support.ts'

/** There is no server: an action that failed is one, too, and what it is is known before it is sent. */
const PROGRAM = `
const { Client } = require('pg')
const statements = ['SELECT name FROM orders', 'DELETE FROM orders', 'insert into orders values (1)']
const client = new Client({ host: '127.0.0.1', port: Number(process.env.DATABASE_PORT), database: 'shop' })
client.on('error', () => {})
client.connect().catch(() => {})
Promise.allSettled(statements.map((one) => client.query(one))).then(() => {
  console.log('listening on http://nowhere')
  setInterval(() => {}, 1000)
})
`

let collector: CollectorProcess
let installed: Programs

beforeAll(async () => {
  installed = await installPrograms({ pg: '8.23.1' })
  collector = await startQuickCollector()
}, 300_000)

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

test('pg', { timeout: 60_000 }, async (context) => {
  const cwd = directoryOf(installed, context)
  await writeFile(join(cwd, 'program.cjs'), PROGRAM)
  const env = { DATABASE_PORT: String(await freePort()) }
  const service = await startService(collector, { name: 'shop', file: 'program.cjs', cwd, env })
  await service.stop()
  const all = await everything(
    collector,
    (records) => records.filter(({ span }) => span.startsWith('pg.query:')).length >= 3,
  )
  expect(all.map(({ span }) => span)).toEqual(expect.arrayContaining(['pg.query:SELECT shop']))
  const actions = select(all, 'action').map(({ span, claims }) => ({ span, ...claims }))
  expect(actions.sort((a, b) => (a.span < b.span ? -1 : 1))).toMatchObject([
    { span: 'pg.query:DELETE shop', 'action.name': 'postgresql DELETE', 'action.type': 'delete' },
    { span: 'pg.query:INSERT shop', 'action.name': 'postgresql INSERT', 'action.type': 'write' },
  ])
  for (const action of actions)
    expect(action).toMatchObject({
      'action.inferred': true,
      'action.outcome': 'failure',
      'emitter.seq': expect.any(Number),
    })
})
