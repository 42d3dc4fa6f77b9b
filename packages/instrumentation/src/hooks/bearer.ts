/** Where a request carries its bearer token (RFC 6750, section 2; RFC 9449, 7.1), for hooks of middleware. */
import { isClaims } from './jwt.ts'

/** The token that a request presents, in the first place that has one. */
export function bearerOf(request: unknown): string | undefined {
  if (!isClaims(request)) return undefined
  const { headers, body, query } = request
  const header = isClaims(headers) ? headers.authorization : undefined
  const found = typeof header === 'string' ? /^(?:Bearer|DPoP) (\S+)$/i.exec(header)?.[1] : undefined
  return found ?? tokenIn(body) ?? tokenIn(query)
}

function tokenIn(part: unknown): string | undefined {
  const token = isClaims(part) ? part.access_token : undefined
  return typeof token === 'string' && token !== '' ? token : undefined
}
