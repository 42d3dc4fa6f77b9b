/**
 * What a security event token says, as log records about governance: CAEP 1.0
 * (https://openid.net/specs/openid-caep-1_0-final.html), RISC, and subjects by RFC 9493.
 */
import { MalformedError } from '@rootspan/lineage/errors'
import { type Attributes, type Fields, idsOf, isFields, type PushedRecord, textOf } from './log-request.ts'

const CAEP = 'https://schemas.openid.net/secevent/caep/event-type/'
const RISC = 'https://schemas.openid.net/secevent/risc/event-type/'
const SSF = 'https://schemas.openid.net/secevent/ssf/event-type/'

/** Events about the stream itself, which say nothing of anybody. */
const OF_THE_STREAM: ReadonlySet<string> = new Set([`${SSF}verification`, `${SSF}stream-updated`])

const MAX_EVENTS = 16

type Status = 'revoked' | 'superseded'

/** What became of the authorization that an event is about; undefined where the event does not say. */
function statusOf(type: string, event: Fields): Status | undefined {
  switch (type) {
    case `${CAEP}session-revoked`:
    case `${RISC}account-disabled`:
    case `${RISC}account-purged`:
    case `${RISC}sessions-revoked`:
      return 'revoked'
    case `${CAEP}token-claims-change`:
      return 'superseded'
    case `${CAEP}credential-change`:
      return event.change_type === 'revoke' || event.change_type === 'delete'
        ? 'revoked'
        : event.change_type === 'update'
          ? 'superseded'
          : undefined
    default:
      return undefined
  }
}

/** Makes a comparable value of an identity. */
type Identify = (value: string) => string

/**
 * The records of a verified token, none where it is about the stream alone. `text` is the token, which each record
 * holds. Throws a MalformedError for what is no token of events.
 */
export function signalsOf(payload: Fields, text: string, fingerprint?: Identify): PushedRecord[] {
  const { events } = payload
  const issuer = textOf(payload.iss)
  const jti = textOf(payload.jti)
  if (!isFields(events) || issuer === undefined || jti === undefined)
    throw new MalformedError('a security event token without issuer, id or events')
  const types = Object.keys(events)
  if (types.length === 0 || types.length > MAX_EVENTS)
    throw new MalformedError(`a security event token has none or over ${MAX_EVENTS} events`)
  const records: PushedRecord[] = []
  for (const type of types) {
    const event = events[type]
    if (!isFields(event)) throw new MalformedError('an event is not a JSON object')
    if (OF_THE_STREAM.has(type)) continue
    const seconds = secondsOf(event.event_timestamp) ?? secondsOf(payload.toe) ?? secondsOf(payload.iat) ?? 0
    const status = statusOf(type, event)
    records.push({
      eventName: nameOf(status, type),
      time: BigInt(seconds) * 1_000_000_000n,
      ids: idsOf('ssf', issuer, jti),
      attributes: {
        'governance.authorization.status': status,
        'governance.authorization.revoked_at': status === 'revoked' ? seconds : undefined,
        ...subjectOf(payload.sub_id ?? event.subject, fingerprint),
        'governance.authorization.transaction.id': textOf(payload.txn),
        'governance.signal.type': type.slice(0, 1024),
        'governance.signal.issuer': issuer,
        'governance.signal.jti': jti,
        'governance.signal.initiator': textOf(event.initiating_entity, 256),
        'governance.corroboration.source': 'ssf',
      },
      body: text,
    })
  }
  return records
}

/** Only an event that is known to be about an authorization is one; others are kept as what was received. */
function nameOf(status: Status | undefined, type: string): string {
  if (status === 'revoked') return 'governance.authorization.revoked'
  if (status === 'superseded') return 'governance.authorization.superseded'
  return type.startsWith(CAEP) || type.startsWith(RISC)
    ? 'governance.authorization.changed'
    : 'governance.signal'
}

/** Seconds since 1970 of a NumericDate. */
function secondsOf(value: unknown): number | undefined {
  return typeof value === 'number' && value >= 0 && value < 2 ** 33 ? Math.floor(value) : undefined
}

const A = 'governance.authorization.'

/** Whom or what an event is about (RFC 9493; CAEP's complex subjects; several of one are all said, the first counts). */
function subjectOf(subject: unknown, fingerprint: Identify | undefined): Attributes {
  if (!isFields(subject)) return {}
  const identify: Identify = fingerprint ?? ((value) => value)
  const format = textOf(subject.format, 64) ?? textOf(subject.subject_type, 64)
  if (
    format === 'complex' ||
    (format === undefined && (isFields(subject.user) || isFields(subject.session)))
  ) {
    const session = identifierOf(subject.session)
    return {
      ...simpleOf(subject.user, identify),
      ...(session !== undefined && sessionOf(session, fingerprint)),
      'governance.signal.subject.format': 'complex',
    }
  }
  if (format === 'aliases' && Array.isArray(subject.identifiers))
    return { ...simpleOf(subject.identifiers[0], identify), 'governance.signal.subject.format': 'aliases' }
  return simpleOf(subject, identify)
}

function simpleOf(subject: unknown, identify: Identify): Attributes {
  if (!isFields(subject)) return {}
  const format = textOf(subject.format, 64) ?? textOf(subject.subject_type, 64)
  const issuer = textOf(subject.iss) ?? textOf(subject.issuer)
  // A token is known by what its issuer called it, which services send as it is.
  if (format === 'jwt_id' || format === 'jwt-id')
    return {
      [`${A}issuer`]: issuer,
      [`${A}id`]: textOf(subject.jti),
      [`${A}type`]: 'jwt',
      'governance.signal.subject.format': format,
    }
  if (format === 'saml_assertion_id')
    return {
      [`${A}issuer`]: issuer,
      [`${A}id`]: textOf(subject.assertion_id),
      [`${A}type`]: 'saml',
      'governance.signal.subject.format': format,
    }
  const identifier = identifierOf(subject)
  return {
    [`${A}issuer`]: issuer,
    [`${A}subject`]: identifier === undefined ? undefined : identify(identifier),
    'governance.signal.subject.format': format,
  }
}

/** A session's id is what its holder presents: a service that sees it sends its fingerprint, as of a token. */
function sessionOf(id: string, fingerprint: Identify | undefined): Attributes {
  if (fingerprint === undefined) return { [`${A}id`]: id, [`${A}type`]: 'session' }
  return { [`${A}fingerprint`]: fingerprint(id), [`${A}type`]: 'session' }
}

function identifierOf(subject: unknown): string | undefined {
  if (!isFields(subject)) return undefined
  for (const name of ['sub', 'id', 'email', 'phone_number', 'uri', 'url']) {
    const value = textOf(subject[name], 1024)
    if (value !== undefined) return value
  }
  return undefined
}
