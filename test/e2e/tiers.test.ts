/**
 * Evidence tiers through real collectors: a real service whose word it is, with and without a token, a plain sender, an
 * engine's own log, a signed revocation. What is said of them comes from the bundle alone.
 */
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { z } from 'zod'
import { Execution, Why } from '../../packages/collector/src/api/schema.ts'
import { type Application, startService } from '../instrumentation/support.ts'
import { claimsOf, sign } from '../instrumentation/tokens.ts'
import { cleanUp, makeDirectory, waitFor } from './process.ts'
import {
  type CollectorProcess,
  downloadEvidence,
  type ExecutionSummary,
  runRootspan,
  runVerifier,
  startCollectorProcess,
  waitForTrace,
} from './support.ts'

const JWT_KEY = 'the key of these tests'
const SHOP = join(import.meta.dirname, '../continuity/shop.service.cjs')
const TOKEN = 'a-token-for-these-tests'
const ISSUER = 'https://idp.example'
const REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'
const OWN_WORD = 'E1, said by the service itself'

/** A fact as `inspect --json` shows it. */
interface Shown {
  readonly record: string
  readonly leafIndex: number
  readonly tier?: string
  readonly standing?: string
  readonly claims: readonly { readonly key: string; readonly value: string }[]
}
interface Tree {
  readonly tree: readonly (Shown & { readonly spanId: string; readonly facts: readonly Shown[] })[]
}
interface Told extends z.output<typeof Why> {
  readonly tiers: Record<string, number>
}

const services: Application[] = []
const collectors: CollectorProcess[] = []
let open: CollectorProcess
let closed: CollectorProcess
let keys: CryptoKeyPair

beforeAll(async () => {
  const directory = await makeDirectory()
  keys = (await generateKeyPair('EdDSA')) as CryptoKeyPair
  const jwks = { keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'k1' }] }
  await writeFile(join(directory, 'token'), TOKEN)
  await writeFile(join(directory, 'jwks.json'), JSON.stringify(jwks))
  const ssf = `{ enabled: true, token_file: token, issuer: ${ISSUER}, audience: us, jwks_file: jwks.json }`
  const doors = [
    'receivers:',
    '  opa: { enabled: true, token_file: token, peer: policy-team }',
    `  ssf: ${ssf}`,
  ]
  open = await startCollectorProcess({ directory, quietPeriod: '400ms', config: doors.join('\n') })
  const other = await makeDirectory()
  await writeFile(join(other, 'token'), TOKEN)
  await writeFile(join(other, 'senders'), 'shop shop-token-of-these-tests\npay pay-token-of-these-tests\n')
  closed = await startCollectorProcess({
    directory: other,
    quietPeriod: '400ms',
    config: [...doors.slice(0, 2), '  senders_file: senders'].join('\n'),
  })
  collectors.push(open, closed)
  for (const one of collectors)
    await writeFile(join(one.directory, 'log.policy'), `log ${one.vkey}\nquorum none\n`)
}, 120_000)

afterAll(async () => {
  for (const service of services) await service.stop()
  for (const collector of collectors) await collector.stop()
  await cleanUp()
})

async function startShop(
  collector: CollectorProcess,
  env: Record<string, string> = {},
): Promise<Application> {
  const own = { SERVICE: 'shop', JWT_KEY, PAY: 'http://127.0.0.1:9', ...env }
  const shop = await startService(collector, { name: 'shop', file: SHOP, env: own })
  services.push(shop)
  return shop
}

/** Asks a shop for an order, and gives the trace. */
async function order(shop: Application): Promise<string> {
  const authorization = `Bearer ${sign(claimsOf({ aud: ['shop', 'pay'] }), JWT_KEY)}`
  const { status, traceId } = await shop.request('/orders/7', { headers: { authorization } })
  expect(status).toBe(200)
  return traceId
}

/** What the verifier says of an execution, from its bundle and the policy. */
async function ask(collector: CollectorProcess, traceId: string, spans = 1) {
  await waitForTrace(collector, traceId, spans)
  const { directory } = collector
  await writeFile(join(directory, `${traceId}.rootspan`), await downloadEvidence(collector, traceId))
  const run = async (command: string, ...flags: string[]): Promise<string> => {
    const args = [command, `${traceId}.rootspan`, '--policy', 'log.policy', ...flags]
    const { code, stdout, stderr } = await runVerifier(args, directory)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    return stdout
  }
  const { tree } = JSON.parse(await run('inspect', '--json')) as Tree
  const facts = tree.flatMap((span) => [
    ...span.facts,
    ...(span.record === 'request' || span.record === 'action' ? [span] : []),
  ])
  return {
    tree,
    facts,
    standings: [...new Set(facts.map(({ standing }) => standing))],
    drawn: await run('inspect'),
    why: await run('why'),
    answers: (JSON.parse(await run('why', '--json')) as Told).answers,
    verified: JSON.parse(await run('verify', '--json')) as Told,
    text: await run('verify'),
  }
}

function idOf(facts: readonly Shown[]): string {
  const claims = facts.find(({ record }) => record === 'decision')!.claims
  return claims.find(({ key }) => key === 'governance.decision.id')!.value.replaceAll('"', '')
}

async function pushDecision(
  collector: CollectorProcess,
  traceId: string,
  id: string,
  result: boolean,
): Promise<string> {
  const spanId = randomBytes(8).toString('hex')
  const entry = {
    labels: { id: 'opa-1', version: '1.9.0' },
    decision_id: id,
    trace_id: traceId,
    span_id: spanId,
    path: 'shop/allow',
    result,
    timestamp: new Date().toISOString(),
  }
  const response = await fetch(`${collector.http}/opa/logs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${TOKEN}` },
    body: JSON.stringify([entry]),
  })
  expect([response.status, await response.text()]).toEqual([200, '{}'])
  return spanId
}

test('E0: attributes that anybody can write by hand, and what ordinary ones tell', async () => {
  const traceId = randomBytes(16).toString('hex')
  const now = BigInt(Date.now()) * 1_000_000n
  const text = (key: string, stringValue: string) => ({ key, value: { stringValue } })
  const span = {
    traceId,
    spanId: randomBytes(8).toString('hex'),
    name: 'POST /refunds',
    kind: 2,
    startTimeUnixNano: String(now - 1_000_000n),
    endTimeUnixNano: String(now),
    attributes: [text('governance.decision.id', 'd1'), text('governance.decision.outcome', 'allow')],
  }
  const resource = { attributes: [text('service.name', 'refunds')] }
  const response = await fetch(`${open.http}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ spans: [span] }] }] }),
  })
  expect(await response.text()).toBe('{}')
  const { standings, why, verified, text: said } = await ask(open, traceId)
  expect(standings).toEqual(['E0, said without the marks of an instrumentation'])
  expect(why).toMatch(/of refunds at \S+, as its ordinary attributes tell \(E0, inferred from ordinary attr/)
  expect(verified.tiers).toEqual({ E0: 2, E1: 0, E2: 0, E3: 0 })
  expect(said).toContain('no emitter counters')
})

describe('a service with the instrumentation', () => {
  test('E1: is believed as far as it is, where nobody is authenticated', { timeout: 120_000 }, async () => {
    const traceId = await order(await startShop(open))
    const { facts, standings, why, drawn, answers, verified, text } = await ask(open, traceId)
    expect(facts.map(({ record }) => record)).toEqual(
      expect.arrayContaining(['request', 'authorization', 'verification', 'decision']),
    )
    expect(standings).toEqual([OWN_WORD])
    expect(why).toMatch(
      /began with the request "GET \/orders\/:id" of shop at \S+ \(E1, said by the service itself\)\./,
    )
    expect(drawn).toMatch(/◆ decision .* E1 /)
    expect(drawn).toContain('E0 inferred or unmarked, E1 said by the service itself')
    expect(verified.tiers).toMatchObject({ E0: 0, E1: facts.length, E2: 0, E3: 0 })
    expect(text).toMatch(new RegExp(`facts +${facts.length} E1\\n`))
    expect(text).toMatch(/completeness +not provable: 1 process numbers its governed spans, and no number /)

    const api = Why.parse(await (await fetch(`${open.api}/api/v1/executions/${traceId}/why`)).json())
    const tiersOf = (told: typeof api.answers) =>
      told.map(({ clauses }) => clauses.map(({ tier, standing }) => [tier, standing]))
    expect(tiersOf(api.answers)).toEqual(tiersOf(answers))
    const asked = await runRootspan(['why', traceId, '--url', open.api], open.directory)
    expect(asked.stdout).toContain(`(${OWN_WORD})`)
    const listed = Execution.parse(await (await fetch(`${open.api}/api/v1/executions/${traceId}`)).json())
    const of = (leafIndex: number) => listed.recordList.find((one) => one.leafIndex === leafIndex)
    for (const { leafIndex, tier, standing } of facts) expect(of(leafIndex)).toMatchObject({ tier, standing })
    expect(listed.recordList.some(({ tier }) => tier === undefined)).toBe(true)
  })

  test.each([
    ['http', {}],
    ['grpc', { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }],
  ])('E2: numbers its spans and has a token, over %s', { timeout: 120_000 }, async (protocol, env) => {
    const endpoint = protocol === 'grpc' ? closed.grpc : closed.http
    const shop = await startShop(closed, {
      ...env,
      OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
      OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20shop-token-of-these-tests',
    })
    const { standings, why, verified } = await ask(closed, await order(shop))
    expect(standings).toEqual(['E2, said by the service itself, counted and authenticated as shop'])
    expect(why).toContain('(E2, said by the service itself, counted and authenticated as shop).')
    expect(verified.tiers).toMatchObject({ E0: 0, E1: 0, E3: 0 })
    expect(verified.tiers.E2).toBeGreaterThan(3)
  })

  test('is refused without a token, and with another', async () => {
    const body = JSON.stringify({ resourceSpans: [] })
    for (const authorization of [undefined, 'Bearer not-a-token-of-anybody', `Bearer ${TOKEN}`]) {
      const headers = {
        'content-type': 'application/json',
        ...(authorization !== undefined && { authorization }),
      }
      const response = await fetch(`${closed.http}/v1/traces`, { method: 'POST', headers, body })
      expect([authorization, response.status]).toEqual([authorization, 401])
    }
  })
})

describe('E3', () => {
  test.each([
    ['E1', () => startShop(open), () => open],
    [
      'E2',
      () =>
        startShop(closed, { OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20shop-token-of-these-tests' }),
      () => closed,
    ],
  ])(
    'a decision of %s is confirmed by the log of its engine, or found out',
    { timeout: 180_000 },
    async (tier, start, of) => {
      const collector = of()
      const shop = await start()
      const [honest, lying] = [await order(shop), await order(shop)]
      for (const [traceId, isSame] of [
        [honest, true],
        [lying, false],
      ] as const) {
        const before = await ask(collector, traceId)
        expect(before.facts.map((fact) => fact.tier)).not.toContain('E3')
        const spanId = await pushDecision(collector, traceId, idOf(before.facts), isSame)
        const after = await ask(collector, traceId, before.tree.length + 1)
        const word = after.tree.find((span) => span.spanId === spanId)!.facts[0]!
        expect(word.standing).toBe('E3, said from outside by policy-team')
        const decision = after.facts.find(
          (fact) => fact.record === 'decision' && fact.leafIndex !== word.leafIndex,
        )!
        const found = (after.verified as unknown as { findings: { rule: string; subjects: object[] }[] })
          .findings
        if (isSame) {
          expect(decision.standing).toBe('E3, confirmed from outside by policy-team')
          expect(after.why).toContain('(E3, confirmed from outside by policy-team)')
          expect(after.facts.filter((fact) => fact.tier === 'E3')).toHaveLength(2)
          expect(found).toEqual([])
        } else {
          expect(decision.tier).toBe(tier)
          expect(found.map(({ rule }) => rule)).toEqual(['GC-D11'])
          expect(found[0]!.subjects).toMatchObject([{ tier }, { tier: 'E3' }])
          expect(after.why).toMatch(
            /GC-D11 \(critical, .*\): span .* says another answer .* \(E[12] at the lowest, /,
          )
        }
      }
    },
  )

  test('a revocation by a signed event', async () => {
    const set = await new SignJWT({
      iss: ISSUER,
      aud: 'us',
      iat: Math.floor(Date.now() / 1000),
      jti: 'set-1',
      sub_id: { format: 'iss_sub', iss: 'https://as.example', sub: 'alice' },
      events: { [REVOKED]: { event_timestamp: 1_793_000_000 } },
    })
      .setProtectedHeader({ alg: 'EdDSA', kid: 'k1', typ: 'secevent+jwt' })
      .sign(keys.privateKey)
    const headers = { 'content-type': 'application/secevent+jwt', authorization: `Bearer ${TOKEN}` }
    const response = await fetch(`${open.http}/ssf/events`, { method: 'POST', headers, body: set })
    expect(response.status).toBe(202)
    const { traceId } = await waitFor('the revocation', async () => {
      const list = await (await fetch(`${open.api}/api/v1/executions?service=${ISSUER}`)).json()
      return (list as { executions: ExecutionSummary[] }).executions[0]
    })
    const { standings, why } = await ask(open, traceId)
    expect(standings).toEqual([`E3, said from outside by ${ISSUER}`])
    expect(why).toMatch(
      /An artifact was revoked at \S+ \(E3, said from outside by https:\/\/idp\.example\)\./,
    )
  })
})
