/** A token is revoked in one execution and used in another: the bundle of the second proves it, offline. */
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp } from './process.ts'
import {
  type CollectorProcess,
  downloadEvidence,
  runRootspan,
  runVerifier,
  startCollectorProcess,
  waitForTrace,
} from './support.ts'

const revoked = randomBytes(16).toString('hex')
const used = randomBytes(16).toString('hex')
const TOKEN = {
  'governance.authorization.fingerprint': 'hmac-sha256:5f1d',
  'governance.authorization.issuer': 'https://issuer.example',
  'governance.authorization.subject': 'alice@example.com',
}
const POLICY = ['--policy', 'log.policy'] as const
const SECOND = 1_000_000_000n

let collector: CollectorProcess
const verifier = (...args: string[]) => runVerifier(args, collector.directory)
const offline = async (trace: string): Promise<string> => {
  const file = join(collector.directory, `${trace}.rootspan`)
  await writeFile(file, await downloadEvidence(collector, trace))
  return `${trace}.rootspan`
}

beforeAll(async () => {
  collector = await startCollectorProcess({ quietPeriod: '400ms' })
  const now = BigInt(Date.now()) * 1_000_000n
  await send(revoked, now - 60n * SECOND, { ...TOKEN, 'governance.authorization.status': 'revoked' }, {})
  await waitForTrace(collector, revoked, 1)
  await send(used, now, TOKEN, { 'governance.action.name': 'refund', 'governance.action.outcome': 'success' })
  await waitForTrace(collector, used, 1)
  await writeFile(join(collector.directory, 'log.policy'), `log ${collector.vkey}\nquorum none\n`)
}, 60_000)

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

/** One span that begins at a time, with what it says of an artifact at that time. */
async function send(
  traceId: string,
  at: bigint,
  authorization: Readonly<Record<string, string>>,
  attributes: Readonly<Record<string, string>>,
): Promise<void> {
  const listOf = (values: Readonly<Record<string, string>>) =>
    Object.entries(values).map(([key, stringValue]) => ({ key, value: { stringValue } }))
  const span = {
    traceId,
    spanId: randomBytes(8).toString('hex'),
    name: 'POST /refunds',
    kind: 2,
    startTimeUnixNano: String(at),
    endTimeUnixNano: String(at + 1_000_000n),
    attributes: listOf(attributes),
    events: [
      { name: 'governance.authorization', timeUnixNano: String(at), attributes: listOf(authorization) },
    ],
  }
  const resource = { attributes: listOf({ 'service.name': 'refunds' }) }
  const response = await fetch(`${collector.http}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ spans: [span] }] }] }),
  })
  expect(await response.text()).toBe('{}')
}

test('the revocation is proven from the bundle of the execution that used the token', async () => {
  const file = await offline(used)
  const { code, stdout } = await verifier('verify', file, ...POLICY)
  expect(code).toBe(0)
  expect(stdout).toMatch(/GC-A09 \(critical\): the artifact was revoked before span [0-9a-f]{16} began/)
  expect(stdout).toContain('context       1 statement about other executions: 1 proven by their records')

  const json = JSON.parse((await verifier('verify', file, ...POLICY, '--json')).stdout)
  expect(json.context).toMatchObject({
    statements: { proven: 1, erased: 0, unproven: 0 },
    records: [{ traceId: revoked, checked: true }],
  })

  const why = await verifier('why', file, ...POLICY)
  expect(why.stdout).toMatch(
    new RegExp(`leaf [0-9]+ of execution ${revoked}, proved likewise; what is taken from it was checked`),
  )
  expect(why.stdout).not.toContain('does not prove')
})

test('the answers of the API lead to the proof of the revocation, in its own execution', async () => {
  const response = await fetch(`${collector.api}/api/v1/executions/${used}/why`)
  const { answers } = (await response.json()) as {
    answers: { clauses: { records: { leafHash: string; leafIndex?: number; proof?: string }[] }[] }[]
  }
  const records = answers.flatMap(({ clauses }) => clauses.flatMap((clause) => clause.records))
  expect(records.every(({ proof }) => proof !== undefined)).toBe(true)
  const elsewhere = records.filter(({ proof }) => proof!.includes(revoked))
  expect(elsewhere.length).toBeGreaterThan(0)
  for (const { proof, leafIndex } of elsewhere) {
    const answer = await fetch(`${collector.api}${proof}`)
    expect(answer.status).toBe(200)
    expect(await answer.text()).toContain(`index ${leafIndex}\n`)
  }
})

test('nothing else of the other execution is in it', async () => {
  const bundle = Buffer.from(await downloadEvidence(collector, used)).toString()
  const { context } = JSON.parse(bundle) as { context: { payload: string }[] }
  const [shown] = context.map(({ payload }) => Buffer.from(payload, 'base64').toString('latin1'))
  expect(shown).toContain('rootspan.revocation')
  expect(shown).toContain(TOKEN['governance.authorization.fingerprint'])
  expect(shown).not.toContain('alice')
})

test('once it was erased, the bundle says so, and the statement is not checked', async () => {
  await collector.stop()
  const erased = await runRootspan(
    ['erase', '--trace', revoked, '--reason', 'request 4711', '--by', 'privacy office', '--yes'],
    collector.directory,
  )
  expect(erased).toMatchObject({ code: 0 })
  collector = await startCollectorProcess({ directory: collector.directory, quietPeriod: '400ms' })
  const file = await offline(used)
  const { code, stdout } = await verifier('verify', file, ...POLICY)
  expect(code).toBe(0)
  expect(stdout).toContain('1 not checked, as their records were erased')
  expect(stdout).toMatch(
    new RegExp(`leaf [0-9]+ of execution ${revoked}, which was erased, as leaf [0-9]+ says`),
  )
  expect(stdout).not.toContain('request 4711')
  const why = await verifier('why', file, ...POLICY)
  expect(why.stdout).toMatch(/was not checked: it was erased, as leaf [0-9]+ says/)
})
