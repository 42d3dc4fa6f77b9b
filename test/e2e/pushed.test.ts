/**
 * Other systems push to a collector that runs: a real OPA its decision logs, a transmitter its revocations. What they
 * say is in the log, under a signature, and whose word it is is part of the evidence.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { formatHex } from '@rootspan/lineage/bytes'
import { decodeLogRecord } from '@rootspan/lineage/otlp/decode'
import { parseReceipt } from '@rootspan/lineage/record/receipt'
import { parsePolicy } from '@rootspan/lineage/tlog/policy'
import { type VerifiedExecution, verify } from '@rootspan/lineage/verify'
import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findServer } from '../instrumentation/servers.ts'
import { freePort } from '../support/port.ts'
import { cleanUp, makeDirectory, startProgram, waitFor } from './process.ts'
import {
  type CollectorProcess,
  downloadEvidence,
  type ExecutionSummary,
  readMetrics,
  startCollectorProcess,
  waitForTrace,
} from './support.ts'

const TOKEN = 'a-token-for-these-tests'
const ISSUER = 'https://idp.example'
const AUDIENCE = 'https://collector.example'
const REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'

let directory: string
let collector: CollectorProcess
let keys: CryptoKeyPair
let jwks: { keys: object[] }

beforeAll(async () => {
  directory = await makeDirectory()
  keys = (await generateKeyPair('EdDSA')) as CryptoKeyPair
  jwks = { keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'k1' }] }
  await writeFile(join(directory, 'token'), `${TOKEN}\n`)
  await writeFile(join(directory, 'jwks.json'), JSON.stringify(jwks))
  await writeFile(join(directory, 'fingerprint.key'), 'the key of the services')
  collector = await startCollectorProcess({
    directory,
    quietPeriod: '300ms',
    config: [
      'receivers:',
      '  opa: { enabled: true, token_file: token, peer: policy-team }',
      '  ssf:',
      '    enabled: true',
      '    token_file: token',
      `    issuer: ${ISSUER}`,
      `    audience: ${AUDIENCE}`,
      '    jwks_file: jwks.json',
      '    fingerprint_key_file: fingerprint.key',
    ].join('\n'),
  })
}, 120_000)

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

async function executions(): Promise<ExecutionSummary[]> {
  const response = await fetch(`${collector.api}/api/v1/executions`)
  return ((await response.json()) as { executions: ExecutionSummary[] }).executions
}

async function evidenceOf(traceId: string): Promise<VerifiedExecution> {
  await waitForTrace(collector, traceId, 1)
  const policy = parsePolicy(`log ${collector.vkey}\nquorum none\n`)
  return verify(await downloadEvidence(collector, traceId), policy)
}

/** What a verified record holds: its log record, and who sent it. */
function saidIn({ records }: VerifiedExecution, at = 0) {
  const { input } = records.filter((record) => record.input !== undefined)[at]!
  const { receiver, peer } = parseReceipt(input!.source.receipt)
  const { body, attributes, eventName } = decodeLogRecord(
    input!.source.body.subarray(input!.spanStart, input!.spanEnd),
  )
  const said = Object.fromEntries(
    attributes.map(({ key, value }) => [key, value.type === 'string' ? value.value : value.type]),
  )
  return { receiver, peer, eventName, body: body.type === 'string' ? body.value : undefined, said }
}

describe.skipIf(findServer('opa') === undefined)('OPA', () => {
  test('its decisions are in the log, and nothing of what they were about', {
    timeout: 180_000,
  }, async () => {
    const home = await makeDirectory()
    await writeFile(join(home, 'policy.rego'), 'package orders\n\nallow if input.subject == "alice"\n')
    const port = await freePort()
    const settings = {
      services: { rootspan: { url: `${collector.http}/opa`, credentials: { bearer: { token: TOKEN } } } },
      decision_logs: { service: 'rootspan', reporting: { min_delay_seconds: 1, max_delay_seconds: 1 } },
    }
    await writeFile(join(home, 'opa.json'), JSON.stringify(settings))
    const flags = ['--addr', `127.0.0.1:${port}`, '--disable-telemetry', '-c', join(home, 'opa.json')]
    const opa = startProgram(findServer('opa')!, ['run', '--server', ...flags, join(home, 'policy.rego')], {
      name: 'opa',
    })
    const url = `http://127.0.0.1:${port}`
    await waitFor('OPA', () =>
      fetch(`${url}/health`).then(
        (answer) => answer.ok || undefined,
        () => undefined,
      ),
    )
    const ask = async (subject: string) => {
      const body = JSON.stringify({ input: { subject, password: 'hunter2' } })
      const answer = await fetch(`${url}/v1/data/orders/allow`, { method: 'POST', body })
      return (await answer.json()) as { decision_id: string; result?: boolean }
    }
    const allowed = await ask('alice')
    const undecided = await ask('bob')
    const [one, two] = await waitFor('two decisions', async () => {
      const found = (await executions()).filter(({ services }) => services.includes('opa'))
      return found.length === 2 && found.every(({ signedSegments }) => signedSegments > 0) ? found : undefined
    })
    const said = await Promise.all([one!, two!].map(async ({ traceId }) => saidIn(await evidenceOf(traceId))))
    const by = (id: string) => said.find((each) => each.said['governance.decision.id'] === id)
    expect(by(allowed.decision_id)).toMatchObject({
      receiver: 'opa',
      peer: 'policy-team',
      eventName: 'governance.decision',
      said: {
        'governance.decision.outcome': 'allow',
        'governance.policy.id': 'orders/allow',
        'governance.decision.engine.version': expect.stringMatching(/^1\./),
        'governance.corroboration.source': 'opa',
      },
    })
    expect(by(undecided.decision_id)!.said['governance.decision.outcome']).toBe('not_applicable')
    const evidence = Buffer.concat(
      await Promise.all([one!, two!].map(({ traceId }) => downloadEvidence(collector, traceId))),
    )
    const payloads = (
      JSON.parse(`[${evidence.toString().replace(/\}\n?\{/g, '},{')}]`) as {
        segments: { payload: string }[]
      }[]
    ).flatMap(({ segments }) =>
      segments.map(({ payload }) => Buffer.from(payload, 'base64').toString('latin1')),
    )
    expect(payloads).toHaveLength(2)
    for (const payload of payloads) {
      expect(payload).toContain('orders/allow')
      expect(payload).not.toMatch(/hunter2|alice|bob/)
    }
    opa.signal('SIGTERM')
    await opa.ends()
  })
})

describe('a transmitter', () => {
  const push = async (set: string, token = TOKEN) => {
    const response = await fetch(`${collector.http}/ssf/events`, {
      method: 'POST',
      headers: {
        'content-type': 'application/secevent+jwt',
        accept: 'application/json',
        authorization: `Bearer ${token}`,
      },
      body: set,
    })
    return [response.status, await response.text()]
  }
  const sign = (key: CryptoKey) =>
    new SignJWT({
      iss: ISSUER,
      aud: AUDIENCE,
      iat: Math.floor(Date.now() / 1000),
      jti: 'set-1',
      sub_id: { format: 'iss_sub', iss: 'https://as.example', sub: 'alice' },
      events: { [REVOKED]: { event_timestamp: 1_793_000_000 } },
    })
      .setProtectedHeader({ alg: 'EdDSA', kid: 'k1', typ: 'secevent+jwt' })
      .sign(key)

  test('its revocation is in the log once, and an auditor can verify its own signature', {
    timeout: 180_000,
  }, async () => {
    const set = await sign(keys.privateKey)
    const forged = await sign(((await generateKeyPair('EdDSA')) as CryptoKeyPair).privateKey)
    expect(await push(set, 'another-token-altogether')).toEqual([
      401,
      expect.stringContaining('authentication_failed'),
    ])
    expect(await push(forged)).toEqual([400, expect.stringContaining('invalid_key')])
    expect(await push(set)).toEqual([202, ''])
    expect(await push(set)).toEqual([202, ''])
    const revoked = await waitFor('the revocation', async () =>
      (await executions()).find(({ services }) => services.includes(ISSUER)),
    )
    expect(await push(set)).toEqual([202, ''])
    const verified = await evidenceOf(revoked.traceId)
    const { receiver, peer, eventName, body, said } = saidIn(verified)
    expect({ receiver, peer, eventName }).toEqual({
      receiver: 'ssf',
      peer: ISSUER,
      eventName: 'governance.authorization.revoked',
    })
    expect(said['governance.authorization.subject']).toMatch(/^hmac-sha256:[0-9a-f]{64}$/)
    const again = await jwtVerify(body!, createLocalJWKSet(jwks as never), {
      issuer: ISSUER,
      audience: AUDIENCE,
    })
    expect(again.payload.jti).toBe('set-1')
    const born = verified.records.filter(({ input }) => input !== undefined)
    expect(born.map(({ entry }) => formatHex(entry.traceId))).toEqual([revoked.traceId])
    await waitFor('the third delivery to be found a duplicate', async () =>
      ((await readMetrics(collector)).get('rootspan_duplicate_spans_total') ?? 0) >= 2 ? true : undefined,
    )
    expect((await evidenceOf(revoked.traceId)).records).toHaveLength(verified.records.length)
    const metrics = await readMetrics(collector)
    expect(metrics.get('rootspan_requests_refused_total{reason="unauthenticated"}')).toBe(1)
  })
})
