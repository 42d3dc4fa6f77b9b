/**
 * What else is taken over HTTP beside OTLP: paths at which other systems push facts. A route turns what it is sent
 * into an OTLP request and hands it to the same `Ingest`; `http.ts` reads, bounds and decompresses its bodies.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { type OnGone, Refusal } from './receiver.ts'

export interface Route {
  /** Limit of one body before and after decompression. */
  readonly maxBytes: number
  /** Throws a {@link Refusal} where the head is enough to refuse the request. */
  admit(headers: IncomingHttpHeaders): void
  /** Takes a body; resolves when what it says is durable. Throws as `Ingest` does. */
  take(body: Uint8Array, onGone?: OnGone): Promise<Answer>
  /** The answer to a refused request. */
  refuse(refusal: Refusal): Answer
}

export interface Answer {
  readonly status: number
  /** JSON; empty for no body. */
  readonly content: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Routes by path. */
export type Routes = ReadonlyMap<string, Route>

const BEARER = /^bearer +([\x21-\x7e]+) *$/i

/** The token of an `Authorization: Bearer` header; undefined where it is none. */
export function bearerOf(authorization: string | undefined): string | undefined {
  return BEARER.exec(authorization ?? '')?.[1]
}

/** A check of `Authorization: Bearer` against one token. Takes the same time whatever is wrong with what was sent. */
export function bearerCheck(token: string): (headers: IncomingHttpHeaders) => void {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  const expected = digest(token)
  return ({ authorization }) => {
    const sent = bearerOf(authorization)
    if (sent === undefined || !timingSafeEqual(digest(sent), expected))
      throw new Refusal('unauthenticated', 'the request has no valid bearer token')
  }
}

/** The media type of a request, in lower case and without parameters. */
export function mediaOf(headers: IncomingHttpHeaders): string {
  return (headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase()
}
