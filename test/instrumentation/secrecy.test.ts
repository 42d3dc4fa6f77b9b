/**
 * Secrets in every place where an application has one, for every library with a hook that has no such test of its own:
 * neither the wire, nor the spool, nor what is said on standard error has one of them in clear.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp, makeDirectory, waitFor } from '../e2e/process.ts'
import { type Tap, tap } from '../e2e/sdk.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { makeStore } from './openfga.ts'
import { findServer, startOpa, startOpenFga, startSpiceDb } from './servers.ts'
import {
  type Application,
  fingerprint,
  recordsOf,
  type Shown,
  select,
  startApplication,
  startQuickCollector,
} from './support.ts'

const POLICY = `package orders

verdict := {"allow": true, "because": input.context}

broken := 1 if input.subject.id

broken := 2 if input.subject.type
`
const SCHEMA = `
caveat only_on(day string) { day != "sunday" }
definition user {}
definition document {
  relation reader: user | user with only_on
  permission read = reader
}`
const FILE = 'secrets.app.mjs'

const [opa, openfga] = [findServer('opa'), findServer('openfga')]

describe.skipIf(opa === undefined || openfga === undefined)('an application full of secrets', () => {
  let collector: CollectorProcess
  let wire: Tap
  let spool: string
  let application: Application

  beforeAll(async () => {
    collector = await startQuickCollector()
    wire = await tap(collector.http)
    spool = await makeDirectory()
    const [opaServer, openfgaServer, spicedb] = await Promise.all([
      startOpa(opa!, POLICY, 'release-41'),
      startOpenFga(openfga!),
      startSpiceDb(SCHEMA, []),
    ])
    const { id } = await makeStore(openfgaServer)
    application = await startApplication({ http: wire.url }, FILE, {
      OPA: opaServer.url,
      OPENFGA: openfgaServer.url,
      STORE: id,
      SPICEDB: spicedb.url,
      OTEL_NODE_DISABLED_INSTRUMENTATIONS: 'net',
      ROOTSPAN_SPOOL: spool,
      // As the SDK has it without being told.
      OTEL_METRICS_EXPORTER: '',
      OTEL_METRIC_EXPORT_INTERVAL: '500',
      OTEL_METRIC_EXPORT_TIMEOUT: '500',
      OTEL_LOGS_EXPORTER: '',
      OTEL_NODE_RESOURCE_DETECTORS: '',
    })
  })

  afterAll(async () => {
    await application?.stop()
    await wire?.close()
    await collector?.stop()
    await cleanUp()
  })

  const ask = async (route: string): Promise<{ status: number; records: Shown[] }> => {
    const answer = await application.request(`/${route}`, { method: 'POST' })
    return { status: answer.status, records: await recordsOf(collector, answer, { isQuiet: true }) }
  }

  /** One with a secret in each of its places. */
  const DECISIONS = [
    ['opa', 'opa', 200, 'allow'],
    ['opa-fails', 'opa', 500, 'error'],
    ['opa-http', 'opa', 200, 'allow'],
    ['authzen', 'openfga', 200, 'deny'],
    ['openfga', 'openfga', 200, 'deny'],
    ['openfga-fails', 'openfga', 400, 'error'],
    ['spicedb', 'spicedb', 200, 'deny'],
    ['spicedb-fails', 'spicedb', 500, 'error'],
    ['cedar', 'cedar', 200, 'allow'],
    ['cedar-fails', 'cedar', 200, 'error'],
    ['casbin', 'casbin', 200, 'deny'],
    ['casbin-fails', 'casbin', 500, 'error'],
    ['casl', 'casl', 200, 'deny'],
    ['casl-fails', 'casl', 500, 'deny'],
  ] as const
  const ACTIONS = [
    ['mcp', 200, 'success'],
    ['mcp-fails', 200, 'failure'],
    ['agent', 200, 'success'],
    ['agent-fails', 500, 'failure'],
  ] as const

  test('keeps all of them', async () => {
    const ofDecisions = DECISIONS.map(async ([route, engine, status, outcome]) => {
      const asked = await ask(route)
      const decisions = select(asked.records, 'decision', { 'decision.engine.name': engine })
      const outcomes = decisions.map(({ claims }) => claims['decision.outcome'])
      expect({ route, status: asked.status, outcomes }).toEqual({ route, status, outcomes: [outcome] })
    })
    const ofActions = ACTIONS.map(async ([route, status, outcome]) => {
      const asked = await ask(route)
      const outcomes = select(asked.records, 'action', { 'action.type': 'execute' }).map(
        ({ claims }) => claims['action.arguments.commitment'] && claims['action.outcome'],
      )
      expect({ route, status: asked.status, outcomes }).toEqual({
        route,
        status,
        outcomes: expect.arrayContaining([outcome]),
      })
    })
    await Promise.all([...ofDecisions, ...ofActions, ask('mcp-refused'), ask('fails')])
    await waitFor('metrics to be sent', () => wire.sent().includes('POST /v1/metrics') || undefined)
    // Everything that has left the process so far, and what is on disk to leave it later.
    const files = await Promise.all((await readdir(spool)).map((name) => readFile(join(spool, name))))
    // What the application says itself on standard error is its own affair.
    const said = application.process.stderr.match(/^rootspan: .*/gm)!.join('\n')
    const left = Buffer.concat([wire.sent(), ...files]).toString('latin1') + said
    // It can be seen, in what is sent and in what is kept: the subject of a question, as it may leave.
    expect(left.split(fingerprint('planted-opa-subject')).length).toBeGreaterThan(2)
    expect([...new Set(left.match(/planted-[\w-]+/g))]).toEqual([])
  })
})
