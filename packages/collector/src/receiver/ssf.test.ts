import { createHash, createHmac } from 'node:crypto'
import { createLocalJWKSet, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose'
import { beforeAll, describe, expect, test } from 'vitest'
import { type ReadLog, readLogs } from '../../../../test/support/logs.ts'
import { type Received, Refusal } from './receiver.ts'
import type { Route } from './route.ts'
import { KeyFetchError, type SsfOptions, ssfRoute } from './ssf.ts'

const ISSUER = 'https://idp.example'
const AUDIENCE = 'https://collector.example/ssf'
const TOKEN = 'a-token-of-some-length'
const NOW = 1_793_000_000
const REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'
const CAEP = 'https://schemas.openid.net/secevent/caep/event-type/'
const RISC = 'https://schemas.openid.net/secevent/risc/event-type/'

let pair: CryptoKeyPair
let other: CryptoKeyPair
let received: Received[] = []

beforeAll(async () => {
  pair = (await generateKeyPair('ES256')) as CryptoKeyPair
  other = (await generateKeyPair('ES256')) as CryptoKeyPair
})

async function route(more: Partial<SsfOptions> = {}): Promise<Route> {
  received = []
  return ssfRoute({
    ingest: async (request) => {
      received.push(request)
      return { rejectedSpans: 0, message: '', position: received.length }
    },
    token: TOKEN,
    issuer: ISSUER,
    audience: AUDIENCE,
    keys: createLocalJWKSet({ keys: [{ ...(await exportJWK(pair.publicKey)), kid: 'k1', alg: 'ES256' }] }),
    now: () => BigInt(NOW) * 1_000_000_000n,
    ...more,
  })
}

const event = (more: object = {}) => ({ event_timestamp: NOW - 100, initiating_entity: 'policy', ...more })

function sign(
  claims: JWTPayload & Record<string, unknown> = {},
  { key = pair.privateKey, header = {} }: { key?: CryptoKey; header?: object } = {},
): Promise<string> {
  const payload = {
    iss: ISSUER,
    aud: AUDIENCE,
    iat: NOW - 90,
    jti: 'set-1',
    sub_id: { format: 'iss_sub', iss: 'https://as.example', sub: 'alice' },
    events: { [REVOKED]: event() },
    ...claims,
  }
  return new SignJWT(payload as JWTPayload)
    .setProtectedHeader({ alg: 'ES256', kid: 'k1', typ: 'secevent+jwt', ...header })
    .sign(key)
}

async function taken(set: string, more: Partial<SsfOptions> = {}): Promise<ReadLog[]> {
  const one = await route(more)
  expect(await one.take(new TextEncoder().encode(set))).toEqual({ status: 202, content: '' })
  return received.flatMap(({ body }) => readLogs(body))
}

async function refused(set: string, more: Partial<SsfOptions> = {}): Promise<unknown> {
  const one = await route(more)
  const refusal = await one.take(new TextEncoder().encode(set)).then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(refusal).toBeInstanceOf(Refusal)
  expect(received).toEqual([])
  const answer = one.refuse(refusal as Refusal)
  return [answer.status, (JSON.parse(answer.content) as { err: string }).err]
}

test('a verified token is one record with the token in it', async () => {
  const set = await sign({ txn: 't-9' })
  const digest = createHash('sha256').update('rootspan/ssf/v0\n')
  for (const name of [ISSUER, 'set-1']) digest.update(Buffer.from([0, 0, 0, name.length])).update(name)
  const ids = digest.digest('hex')
  expect(await taken(set)).toEqual([
    {
      name: 'governance.authorization.revoked',
      traceId: ids.slice(0, 32),
      spanId: ids.slice(32, 48),
      time: BigInt(NOW - 100) * 1_000_000_000n,
      body: set,
      attributes: {
        'authorization.status': 'revoked',
        'authorization.revoked_at': NOW - 100,
        'authorization.issuer': 'https://as.example',
        'authorization.subject': 'alice',
        'signal.subject.format': 'iss_sub',
        'authorization.transaction.id': 't-9',
        'signal.type': REVOKED,
        'signal.issuer': ISSUER,
        'signal.jti': 'set-1',
        'signal.initiator': 'policy',
        'corroboration.source': 'ssf',
      },
      resource: { 'service.name': ISSUER },
    },
  ])
  expect(received).toMatchObject([{ receiver: 'ssf', signal: 'logs', peer: ISSUER }])
})

test('the same token gives the same request again', async () => {
  const set = await sign()
  await taken(set)
  const [first] = received
  await taken(set)
  expect(Buffer.from(received[0]!.body)).toEqual(Buffer.from(first!.body))
})

describe('subjects', () => {
  const subjectOf = async (claims: Record<string, unknown>, more: Partial<SsfOptions> = {}) => {
    const [record] = await taken(await sign(claims), more)
    return Object.fromEntries(
      Object.entries(record!.attributes).filter(([key]) =>
        /^authorization\.(issuer|subject|id|type|fingerprint)$/.test(key),
      ),
    )
  }
  const key = 'the key of the services'
  const fingerprint = (value: string) =>
    `hmac-sha256:${createHmac('sha256', key).update(value).digest('hex')}`

  test.each<[object, object]>([
    [{ format: 'email', email: 'a@example.com' }, { 'authorization.subject': 'a@example.com' }],
    [{ format: 'opaque', id: '11112222' }, { 'authorization.subject': '11112222' }],
    [{ format: 'account', uri: 'acct:a@example.com' }, { 'authorization.subject': 'acct:a@example.com' }],
    [{ format: 'did', url: 'did:example:1' }, { 'authorization.subject': 'did:example:1' }],
    [
      { format: 'jwt_id', iss: 'https://as.example', jti: 'token-7' },
      {
        'authorization.issuer': 'https://as.example',
        'authorization.id': 'token-7',
        'authorization.type': 'jwt',
      },
    ],
    [
      {
        format: 'aliases',
        identifiers: [
          { format: 'email', email: 'a@example.com' },
          { format: 'opaque', id: 'x' },
        ],
      },
      { 'authorization.subject': 'a@example.com' },
    ],
    [
      {
        format: 'complex',
        user: { format: 'iss_sub', iss: 'i', sub: 'alice' },
        session: { format: 'opaque', id: 's-1' },
      },
      {
        'authorization.issuer': 'i',
        'authorization.subject': 'alice',
        'authorization.id': 's-1',
        'authorization.type': 'session',
      },
    ],
    [{ format: 'unheard of' }, {}],
    [{ format: 'email', email: 5 }, {}],
  ])('%j', async (sub_id, expected) => {
    expect(await subjectOf({ sub_id })).toEqual(expected)
  })

  test('inside the event, as before SSF 1.0', async () => {
    const events = { [REVOKED]: event({ subject: { subject_type: 'iss_sub', iss: 'i', sub: 'alice' } }) }
    expect(await subjectOf({ sub_id: undefined, events })).toEqual({
      'authorization.issuer': 'i',
      'authorization.subject': 'alice',
    })
  })

  test('are the fingerprints that services send, where their key is known; ids of tokens are as they are', async () => {
    expect(await subjectOf({}, { fingerprint })).toEqual({
      'authorization.issuer': 'https://as.example',
      'authorization.subject': fingerprint('alice'),
    })
    const session = { format: 'complex', session: { format: 'opaque', id: 's-1' } }
    expect(await subjectOf({ sub_id: session }, { fingerprint })).toEqual({
      'authorization.fingerprint': fingerprint('s-1'),
      'authorization.type': 'session',
    })
    const token = { format: 'jwt_id', iss: 'i', jti: 'token-7' }
    expect(await subjectOf({ sub_id: token }, { fingerprint })).toMatchObject({
      'authorization.id': 'token-7',
    })
  })
})

test.each<[string, object, string, string | undefined]>([
  [`${RISC}account-disabled`, {}, 'revoked', 'revoked'],
  [`${CAEP}credential-change`, { change_type: 'revoke' }, 'revoked', 'revoked'],
  [`${CAEP}credential-change`, { change_type: 'delete' }, 'revoked', 'revoked'],
  [`${CAEP}credential-change`, { change_type: 'update' }, 'superseded', 'superseded'],
  [`${CAEP}credential-change`, { change_type: 'create' }, 'changed', undefined],
  [`${CAEP}token-claims-change`, { claims: { role: 'x' } }, 'superseded', 'superseded'],
  [`${CAEP}device-compliance-change`, {}, 'changed', undefined],
])('%s %j', async (type, payload, name, status) => {
  const [record] = await taken(await sign({ events: { [type]: event(payload) } }))
  expect([record!.name, record!.attributes['authorization.status']]).toEqual([
    `governance.authorization.${name}`,
    status,
  ])
})

test('an unknown event is kept as what was received; one about the stream alone is not', async () => {
  const [record] = await taken(await sign({ events: { 'https://example.com/something': {} } }))
  expect(record).toMatchObject({ name: 'governance.signal', time: BigInt(NOW - 90) * 1_000_000_000n })
  const events = { 'https://schemas.openid.net/secevent/ssf/event-type/verification': { state: 'x' } }
  expect(await taken(await sign({ events }))).toEqual([])
})

describe('refused, with the code of RFC 8935', () => {
  test.each<[string, () => Promise<string>, string]>([
    ['no token', async () => 'noise', 'invalid_request'],
    ['another key', () => sign({}, { key: other.privateKey }), 'invalid_key'],
    ['an unknown key id', () => sign({}, { header: { kid: 'k2' } }), 'invalid_key'],
    ['another issuer', () => sign({ iss: 'https://other.example' }), 'invalid_issuer'],
    ['another audience', () => sign({ aud: 'somebody else' }), 'invalid_audience'],
    ['no audience', () => sign({ aud: undefined as never }), 'invalid_audience'],
    ['another type of token', () => sign({}, { header: { typ: 'JWT' } }), 'invalid_request'],
    ['no id', () => sign({ jti: undefined as never }), 'invalid_request'],
    ['no events', () => sign({ events: undefined }), 'invalid_request'],
    ['events of another form', () => sign({ events: [] }), 'invalid_request'],
    ['an event that is no object', () => sign({ events: { [REVOKED]: 5 } }), 'invalid_request'],
    ['from the future', () => sign({ iat: NOW + 3600 }), 'invalid_request'],
    [
      'changed on the way',
      async () => (await sign()).replace(/\.[^.]+\./, (part) => `${part.slice(0, 8)}A${part.slice(9)}`),
      'invalid_key',
    ],
    [
      'without a signature',
      async () =>
        `${Buffer.from('{"alg":"none","typ":"secevent+jwt"}').toString('base64url')}.${(await sign()).split('.')[1]}.`,
      'invalid_request',
    ],
    [
      'with a symmetric signature',
      async () =>
        new SignJWT({ events: {} })
          .setProtectedHeader({ alg: 'HS256', typ: 'secevent+jwt' })
          .sign(Buffer.alloc(32)),
      'invalid_request',
    ],
  ])('%s', async (_, make, err) => {
    const set = await make()
    const one = await route()
    const error: unknown = await one.take(new TextEncoder().encode(set)).catch((reason: unknown) => reason)
    // What the parser of events refuses comes as malformed input, which http.ts makes a refusal of.
    const refusal = error instanceof Refusal ? error : new Refusal('malformed', (error as Error).message)
    expect(received).toEqual([])
    const answer = one.refuse(refusal)
    expect([answer.status, (JSON.parse(answer.content) as { err: string }).err]).toEqual([400, err])
  })

  test('keys that cannot be fetched are no fault of the token: it may come again', async () => {
    const keys = () => Promise.reject(new KeyFetchError('no'))
    expect(await refused(await sign(), { keys })).toEqual([503, 'invalid_request'])
  })

  test('nobody without the bearer token, and nothing of another media type', async () => {
    const { admit, refuse } = await route()
    const type = 'application/secevent+jwt'
    expect(() => admit({ authorization: `Bearer ${TOKEN}`, 'content-type': type })).not.toThrow()
    for (const authorization of [
      undefined,
      'Bearer',
      `Bearer ${TOKEN}x`,
      `Basic ${TOKEN}`,
      `Bearer ${TOKEN} x`,
    ])
      expect(() => admit({ ...(authorization && { authorization }), 'content-type': type })).toThrow(
        /no valid bearer token/,
      )
    expect(() => admit({ authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' })).toThrow(
      Refusal,
    )
    const answer = refuse(new Refusal('unauthenticated', 'no'))
    expect([answer.status, JSON.parse(answer.content)]).toEqual([
      401,
      { err: 'authentication_failed', description: 'no' },
    ])
  })
})
