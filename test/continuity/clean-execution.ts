/**
 * A governed execution of 200 spans, as `@rootspan/instrumentation` makes them: a request to `web`, which calls `api`
 * 18 times, which acts and has `billing` act. All is in order. Mutations of it are what the rules must see.
 */
import {
  action,
  decision,
  fingerprint,
  INSTRUMENTED,
  inherited,
  numberSpans,
  REQUEST,
  sha256,
  token,
  transition,
  type Vector,
  type VectorSpan,
  when,
} from '../vectors/continuity/spec.ts'

const CALLS = 18
/** Seconds between two calls: more than clocks may differ. */
const EVERY = 3

const DOMAIN = { resource: { ...INSTRUMENTED, 'governance.domain': 'shop' } }
const PARTNER = { resource: { ...INSTRUMENTED, 'governance.domain': 'partner' } }
export const SERVICES: NonNullable<Vector['services']> = {
  web: DOMAIN,
  api: DOMAIN,
  billing: DOMAIN,
  // Of another trust domain; they are in no clean execution.
  'api of a partner': PARTNER,
  'billing of a partner': PARTNER,
}

/** Versions of the policy that decides, in the order in which they came into use. */
export const VERSIONS = ['2026-01', '2026-02'] as const
const POLICY = { 'policy.id': 'shop/refunds', 'policy.version': VERSIONS[1] }

const USER = {
  'authorization.scope': ['orders:read', 'orders:write', 'refunds'],
  'authorization.id': 'token-1',
}
/** Exchanged by `api` for less, for each call. */
const narrowed = (call: number) => ({
  'authorization.scope': ['refunds'],
  'authorization.id': `token-1-${call}`,
  'authorization.parent.id': 'token-1',
  'authorization.parent.fingerprint': fingerprint('user'),
  'authorization.actor.chain': [fingerprint('api')],
  'authorization.expires_at': when(900),
})

/** Spans in the order of their ids. Numbers and links of the processes are those of this trace. */
export function cleanExecution(traceId = TRACE): VectorSpan[] {
  const spans: VectorSpan[] = [
    {
      id: 1,
      service: 'web',
      kind: 'server',
      at: 0,
      takes: CALLS * EVERY + 1,
      attributes: REQUEST,
      events: [
        token('user', USER, 0.001),
        transition('requested', 'authorized', 0.002),
        transition('authorized', 'permitted', 0.003),
        transition('permitted', 'executing', 0.004),
        transition('executing', 'completed', CALLS * EVERY + 0.9),
      ],
    },
    { id: 2, parent: 1, service: 'web', name: 'handler', at: 0.005, takes: CALLS * EVERY + 0.5 },
  ]
  for (let call = 0; call < CALLS; call++) spans.push(...callOf(call))
  return chained(spans, traceId)
}

/** Eleven spans: `web` calls `api`, which verifies, decides, exchanges the token and acts in `billing`. */
function callOf(call: number): VectorSpan[] {
  const id = 3 + call * 11
  const at = 0.1 + call * EVERY
  const bound = { 'action.digest': `sha256:${sha256(`refund ${call}`)}` }
  const charge = { 'action.digest': `sha256:${sha256(`charge ${call}`)}` }
  const less = `narrowed ${call}`
  const [api, billing] = [`api-${call}`, `billing-${call}`]
  return [
    { id, parent: 2, service: 'web', kind: 'client', at, takes: 2 },
    {
      id: id + 1,
      parent: id,
      remote: true,
      kind: 'server',
      at: at + 0.01,
      takes: 1.9,
      attributes: REQUEST,
      events: [token('user', USER, at + 0.011)],
    },
    { id: id + 2, parent: id + 1, name: 'middleware', at: at + 0.011, takes: 0.002 },
    {
      id: id + 3,
      parent: id + 1,
      name: 'may refund',
      at: at + 0.02,
      takes: 0.01,
      events: [
        inherited('user', { 'authorization.id': 'token-1' }, at + 0.021),
        decision(
          api,
          {
            ...POLICY,
            ...bound,
            'authorization.fingerprint': fingerprint('user'),
            'decision.effect': 'permitted',
          },
          at + 0.025,
        ),
      ],
    },
    {
      id: id + 4,
      parent: id + 1,
      name: 'refund',
      at: at + 0.05,
      takes: 1.5,
      attributes: action('refund', { 'decision.id': api, ...bound }),
      events: [inherited('user', { 'authorization.id': 'token-1' }, at + 0.05)],
    },
    {
      id: id + 5,
      parent: id + 4,
      name: 'exchange',
      at: at + 0.06,
      takes: 0.01,
      events: [token(less, narrowed(call), at + 0.065)],
    },
    { id: id + 6, parent: id + 4, kind: 'client', name: 'GET', at: at + 0.1, takes: 1.2 },
    {
      id: id + 7,
      parent: id + 6,
      remote: true,
      service: 'billing',
      kind: 'server',
      at: at + 0.11,
      takes: 1.1,
      attributes: REQUEST,
      events: [token(less, narrowed(call), at + 0.115)],
    },
    {
      id: id + 8,
      parent: id + 7,
      service: 'billing',
      name: 'may charge',
      at: at + 0.12,
      takes: 0.01,
      events: [
        inherited(less, { 'authorization.expires_at': when(900) }, at + 0.121),
        decision(
          billing,
          {
            ...POLICY,
            ...charge,
            'authorization.fingerprint': fingerprint(less),
            'decision.effect': 'permitted',
          },
          at + 0.125,
        ),
      ],
    },
    {
      id: id + 9,
      parent: id + 7,
      service: 'billing',
      kind: 'client',
      name: 'charge',
      at: at + 0.15,
      takes: 0.8,
      attributes: action('charge', { 'decision.id': billing, ...charge }),
      events: [inherited(less, { 'authorization.expires_at': when(900) }, at + 0.15)],
    },
    { id: id + 10, parent: id + 9, service: 'billing', name: 'connect', at: at + 0.16, takes: 0.1 },
  ]
}

export function isGoverned({ attributes = {}, events = [] }: VectorSpan): boolean {
  return Object.keys(attributes).some((key) => key.startsWith('governance.')) || events.length > 0
}

export const endOf = ({ at = 0, takes = 0 }: VectorSpan): number => at + takes

/** Gives the governed spans of each process their numbers, in the order in which they end. */
function chained(spans: readonly VectorSpan[], traceId: string): VectorSpan[] {
  const next = new Map<string, number>()
  const numbers = new Map<VectorSpan, readonly [string, number]>()
  for (const span of spans.filter(isGoverned).sort((a, b) => endOf(a) - endOf(b))) {
    const { service = 'api' } = span
    const number = next.get(service) ?? 0
    next.set(service, number + 1)
    numbers.set(span, [sha256(`process of ${service} in ${traceId}`).slice(0, 32), number])
  }
  const numbered = spans.map((span) => {
    const number = numbers.get(span)
    return number === undefined ? span : { ...span, numbered: number }
  })
  // What is on the spans from here on is what the process has sent: mutations do not number anew.
  return numberSpans(numbered, () => traceId).map(({ numbered: _, ...span }) => span)
}

/** Trace id of the execution. */
export const TRACE = '00000000000000000000000000000001'
