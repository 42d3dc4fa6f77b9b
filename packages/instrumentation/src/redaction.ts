/**
 * Credentials in URLs. RFC 6750, section 2.3, lets a token travel as a query parameter, and an authorization code
 * always does (RFC 6749, section 4.1.2); the HTTP instrumentations put queries on spans as they are.
 *
 * Parameters with the names below are known for secrets, and values that look like a JSON Web Token: what else a service
 * passes under other names stays. What a GET asks of Open Policy Agent is taken out too: it says who wants to do what.
 */
import type { Attributes } from '@opentelemetry/api'

/** Attributes that hold a query: of the current conventions, and of those before them. */
const ATTRIBUTES = ['url.query', 'url.full', 'http.url', 'http.target'] as const

/** In lower case, without `_` and `-`. OAuth 2.0 and OpenID Connect, SAML, signed URLs of object stores, and what people call it. */
const SECRET = new Set([
  ...['accesstoken', 'refreshtoken', 'idtoken', 'idtokenhint', 'logouttoken', 'token', 'jwt'],
  ...['code', 'codeverifier', 'state', 'devicecode', 'usercode', 'assertion', 'clientassertion'],
  ...['clientsecret', 'subjecttoken', 'actortoken', 'request', 'ticket', 'otp', 'pin'],
  ...['authtoken', 'oauthtoken', 'privatetoken', 'resettoken', 'sessiontoken', 'csrftoken', 'bearer'],
  ...['samlrequest', 'samlresponse', 'samlart'],
  ...['sig', 'signature', 'awsaccesskeyid', 'xamzsignature', 'xamzcredential', 'xamzsecuritytoken'],
  ...['xgoogsignature', 'xgoogcredential'],
  ...['password', 'passwd', 'pwd', 'passphrase', 'secret', 'apikey', 'key', 'auth', 'authorization'],
  ...['session', 'sessionid', 'sid'],
])

/** A JSON Web Token, whatever the parameter is called: two parts that begin as JSON objects do. */
const JWT = /^eyJ[\w-]+\.eyJ[\w-]*\./

/** The end of a URL before the query of a question to OPA's Data API. */
const OPA = /\/v1\/data(?:\/[^?#]*)?\?$/

/** The value that the semantic conventions recommend in its place. */
export const REDACTED = 'REDACTED'

interface Redactable {
  readonly attributes: Attributes
  setAttribute(name: string, value: string): unknown
}

/** Takes credentials out of the URLs on a span that has just begun. */
export function redactUrls(span: Redactable): void {
  const { attributes } = span
  // Most spans have none of them, and are asked for each in a way that engines are quick at.
  const { 'url.query': query, 'url.full': full, 'http.url': url, 'http.target': target } = attributes
  if (query === undefined && full === undefined && url === undefined && target === undefined) return
  for (const name of ATTRIBUTES) {
    const value = attributes[name]
    if (typeof value !== 'string' || !value.includes('=')) continue
    const redacted = redactQuery(value, name === 'url.query')
    if (redacted !== value) span.setAttribute(name, redacted)
  }
}

/** `text` is a query, or something that has one behind its first question mark. Fragments are left as they are. */
export function redactQuery(text: string, isQuery: boolean): string {
  const start = isQuery ? 0 : text.indexOf('?') + 1
  if (start === 0 && !isQuery) return text
  const hash = text.indexOf('#', start)
  const end = hash === -1 ? text.length : hash
  const before = text.slice(0, start)
  const isOpa = OPA.test(before)
  const pairs = text.slice(start, end).split('&')
  return before + pairs.map((pair) => redactPair(pair, isOpa)).join('&') + text.slice(end)
}

function redactPair(pair: string, isOpa: boolean): string {
  const at = pair.indexOf('=')
  if (at === -1 || at === pair.length - 1) return pair
  const name = pair.slice(0, at)
  const plain = decoded(name).replace(/^\?/, '').replace(/[-_]/g, '').toLowerCase()
  const isSecret = SECRET.has(plain) || (isOpa && plain === 'input') || JWT.test(pair.slice(at + 1))
  return isSecret ? `${name}=${REDACTED}` : pair
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}
