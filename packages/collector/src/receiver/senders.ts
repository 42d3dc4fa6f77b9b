/**
 * Who sends OTLP, told by bearer tokens: a file with a line for each sender, its name, white space, its token. Empty lines
 * and lines that begin with `#` say nothing. A sender may have several tokens, so that one can be replaced.
 */
import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { parseUtf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import { nodeFiles } from '../files.ts'
import { OperatorError } from '../operator-error.ts'
import { readSmallFile } from '../read-file.ts'
import { Refusal } from './receiver.ts'
import { bearerOf } from './route.ts'

/** The name of whoever sent a request with these headers. Throws a {@link Refusal} where that is none of them. */
export type Authenticate = (headers: IncomingHttpHeaders) => string

const MAX_FILE_BYTES = 1024 * 1024
const LINE = /^([\x21-\x7e]{1,255})[ \t]+([\x21-\x7e]{16,4096})$/

/** Throws an OperatorError for a file that is not such a list; no token is in its message. */
export async function openSenders(path: string): Promise<Authenticate> {
  let bytes: Uint8Array | undefined
  try {
    bytes = await readSmallFile(nodeFiles, path, MAX_FILE_BYTES)
    if (bytes !== undefined) return authenticateBy(parseUtf8(bytes, 'the file'))
  } catch (error) {
    throw broken(error instanceof MalformedError ? error.message : 'it cannot be read', error)
  }
  throw broken('it is not there')
}

/** The check that the text of such a file asks for. Throws a MalformedError. */
export function authenticateBy(text: string): Authenticate {
  const peers = new Map<string, string>()
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    const said = line.trim()
    if (said === '' || said.startsWith('#')) continue
    const [, name, token] = LINE.exec(said) ?? []
    if (name === undefined || token === undefined)
      throw new MalformedError(`line ${at + 1} is not a name and a token of at least 16 characters`)
    const digest = digestOf(token)
    if (peers.has(digest)) throw new MalformedError(`line ${at + 1} has the token of another line`)
    peers.set(digest, name)
  }
  if (peers.size === 0) throw new MalformedError('it names no sender')
  // Looked up by digest: how long that takes says nothing of the tokens.
  return ({ authorization }) => {
    const sent = bearerOf(authorization)
    const peer = sent === undefined ? undefined : peers.get(digestOf(sent))
    if (peer === undefined) throw new Refusal('unauthenticated', 'the request has no valid bearer token')
    return peer
  }
}

function digestOf(token: string): string {
  return createHash('sha256').update(token).digest('base64')
}

function broken(what: string, cause?: unknown): OperatorError {
  const message = `the file that receivers.senders_file names: ${what}`
  return new OperatorError(message, 'Correct the file or the configuration.', { cause })
}
