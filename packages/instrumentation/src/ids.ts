/** Ids of traces and spans for the SDK (W3C Trace Context, 3.2.2), from the system's source of randomness. */
import { randomBytes } from 'node:crypto'

export interface IdGenerator {
  generateTraceId(): string
  generateSpanId(): string
}

/** Bytes that are drawn and turned into text at once, which costs an id a tenth of what it costs alone. */
const DRAWN_BYTES = 4096

/** No id. */
const ZEROS = /^0+$/

/** `random` gives as many bytes as it is asked for. */
export function idGenerator(random: (count: number) => Buffer = randomBytes): IdGenerator {
  let digits = ''
  let at = 0
  const next = (length: number): string => {
    for (;;) {
      if (at + length > digits.length) {
        digits = random(DRAWN_BYTES).toString('hex')
        at = 0
      }
      const id = digits.slice(at, at + length)
      at += length
      if (!id.startsWith('0') || !ZEROS.test(id)) return id
    }
  }
  return { generateTraceId: () => next(32), generateSpanId: () => next(16) }
}
