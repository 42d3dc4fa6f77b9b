/** The chain of the governed spans of one process, as the instrumentation makes it (docs/semantic-conventions). */
import { sha256 } from '#crypto'
import { formatHex, utf8 } from '../bytes.ts'

/** `governance.emitter.prev` of the first span of a process. */
export const FIRST_LINK = '0'.repeat(64)

/**
 * What `governance.emitter.prev` of the next span must be: SHA-256 over the text `rootspan/emitter/v1`, emitter id, number,
 * trace id, span id and `prev`, each on a line; in hex. Ids are in lower-case hex.
 */
export function linkOf(emitter: string, seq: bigint, traceId: string, spanId: string, prev: string): string {
  return formatHex(sha256(utf8(`rootspan/emitter/v1\n${emitter}\n${seq}\n${traceId}\n${spanId}\n${prev}\n`)))
}
