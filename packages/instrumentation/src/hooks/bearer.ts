/** Where a request carries its bearer token (RFC 6750, section 2; RFC 9449, 7.1), for hooks of middleware. */
import { member } from './values.ts'

/** The token that a request presents, in the first place that has one. */
export function bearerOf(request: unknown): string | undefined {
  const header = member(member(request, 'headers'), 'authorization')
  const found = typeof header === 'string' ? tokenOf(header) : undefined
  return found ?? tokenIn(member(request, 'body')) ?? tokenIn(member(request, 'query'))
}

function tokenOf(header: string): string | undefined {
  // As nearly all write it: found in a seventh of the time.
  if (header.startsWith(USUAL) && header.length > USUAL.length && !/\s/.test(header.slice(USUAL.length)))
    return header.slice(USUAL.length)
  return /^(?:Bearer|DPoP) (\S+)$/i.exec(header)?.[1]
}

const USUAL = 'Bearer '

function tokenIn(part: unknown): string | undefined {
  const token = member(part, 'access_token')
  return typeof token === 'string' && token !== '' ? token : undefined
}
