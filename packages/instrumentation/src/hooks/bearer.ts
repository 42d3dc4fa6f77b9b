/** Where a request carries its bearer token (RFC 6750, section 2; RFC 9449, 7.1), for hooks of middleware. */
import { member } from './values.ts'

/** The token that a request presents, in the first place that has one. */
export function bearerOf(request: unknown): string | undefined {
  const header = member(member(request, 'headers'), 'authorization')
  const found = typeof header === 'string' ? /^(?:Bearer|DPoP) (\S+)$/i.exec(header)?.[1] : undefined
  return found ?? tokenIn(member(request, 'body')) ?? tokenIn(member(request, 'query'))
}

function tokenIn(part: unknown): string | undefined {
  const token = member(part, 'access_token')
  return typeof token === 'string' && token !== '' ? token : undefined
}
