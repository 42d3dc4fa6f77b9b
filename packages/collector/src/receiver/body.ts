/**
 * Collects request bodies: charges them to the budget as they arrive, bounds their size before and after
 * decompression, and gives up on those that do not make progress.
 */
import { createGunzip, gunzipSync } from 'node:zlib'
import type { BufferPool } from '../buffer-pool.ts'
import type { Budget } from './budget.ts'
import { Refusal, type RefusalCode } from './receiver.ts'

export interface IntakeOptions {
  readonly budget: Budget
  readonly maxBytes: number
  readonly idleMillis: number
  readonly totalMillis: number
  /** Where bodies of several chunks are joined; else in memory of their own. */
  readonly pool?: BufferPool | undefined
}

/** The bodies of one receiver that are under way. Owns the timer that watches them. */
export class Intake {
  readonly budget: Budget
  readonly maxBytes: number
  readonly #idleMillis: number
  readonly #totalMillis: number
  readonly #pool: BufferPool | undefined
  readonly #open = new Set<Body>()
  readonly #timer: NodeJS.Timeout
  #now = performance.now()

  constructor(options: IntakeOptions) {
    this.budget = options.budget
    this.maxBytes = options.maxBytes
    this.#idleMillis = options.idleMillis
    this.#totalMillis = options.totalMillis
    this.#pool = options.pool
    this.#timer = setInterval(() => this.#sweep(), Math.max(20, Math.min(1000, options.idleMillis / 4)))
    this.#timer.unref()
  }

  /** A new body. `expire` is called at most once, between chunks, if it comes too slowly. */
  open(expire: (refusal: Refusal) => void): Body {
    const body = new Body(this.budget, this.#pool, this.#now, expire)
    this.#open.add(body)
    body.onSettled = () => this.#open.delete(body)
    return body
  }

  /** Ends the watch. */
  stop(): void {
    clearInterval(this.#timer)
  }

  // One pass over the open bodies a few times per idle period instead of a timer per request: its cost for a request
  // that arrives at once is one insertion and one deletion.
  #sweep(): void {
    this.#now = performance.now()
    for (const body of this.#open) {
      if (body.progressed) {
        body.progressed = false
        body.progressAt = this.#now
      }
      if (this.#now - body.progressAt < this.#idleMillis && this.#now - body.openedAt < this.#totalMillis)
        continue
      body.settle()
      body.expire(new Refusal('timeout', 'the request body did not arrive in time'))
    }
  }
}

// A chunk costs more than its bytes; a sender who sends one byte per frame pays for the frames too.
const CHUNK_COST = 128

/** One body. The receiver that opened it must call `release()` exactly when the bytes are no longer needed. */
export class Body {
  readonly #budget: Budget
  readonly #pool: BufferPool | undefined
  readonly openedAt: number
  readonly expire: (refusal: Refusal) => void
  progressAt: number
  progressed = false
  onSettled: (() => void) | undefined
  #chunks: Uint8Array[] = []
  #size = 0
  #charged = 0
  #released = false
  #joined: ArrayBuffer | undefined

  constructor(budget: Budget, pool: BufferPool | undefined, now: number, expire: (refusal: Refusal) => void) {
    this.#budget = budget
    this.#pool = pool
    this.openedAt = now
    this.progressAt = now
    this.expire = expire
  }

  /** Bytes collected. */
  get size(): number {
    return this.#size
  }

  /** Takes one chunk, which nobody may write to afterwards. Throws `busy` over the budget. */
  push(chunk: Uint8Array): void {
    this.charge(chunk.length + CHUNK_COST)
    this.#chunks.push(chunk)
    this.#size += chunk.length
    this.progressed = true
  }

  /** Charges memory that is held on behalf of this body. */
  charge(bytes: number): void {
    this.#budget.take(bytes)
    this.#charged += bytes
  }

  /** The byte at an offset below `size`: for a frame's head, which may be cut into chunks. */
  byte(offset: number): number {
    let rest = offset
    for (const chunk of this.#chunks) {
      if (rest < chunk.length) return chunk[rest]!
      rest -= chunk.length
    }
    throw new Error('bad offset into a body')
  }

  /**
   * All bytes, copied at most once, and the end of the watch. The body has no chunks afterwards; the bytes live until
   * `release()`, where they were joined in the pool and not handed over. `isKept` says that they are the request as
   * it is kept, and not only what it is decompressed from.
   */
  join(isKept: boolean): Uint8Array {
    this.settle()
    const chunks = this.#chunks
    this.#chunks = []
    if (chunks.length === 1) return chunks[0]!
    this.#joined = isKept ? this.#pool?.take(this.#size) : undefined
    if (this.#joined === undefined) return Buffer.concat(chunks, this.#size)
    const bytes = Buffer.from(this.#joined, 0, this.#size)
    let at = 0
    for (const chunk of chunks) {
      bytes.set(chunk, at)
      at += chunk.length
    }
    return bytes
  }

  /** Ends the watch: nothing more is expected from the sender. */
  settle(): void {
    this.onSettled?.()
    this.onSettled = undefined
  }

  /** Gives everything back to the budget. May be called more than once. */
  release(): void {
    if (this.#released) return
    this.#released = true
    this.settle()
    this.#chunks = []
    if (this.#joined !== undefined) this.#pool?.release(this.#joined)
    this.#budget.give(this.#charged)
  }
}

// Below this, decompressing on the spot is cheaper than handing over to a thread, and its output (at most about a
// thousand times as much) cannot hold up anybody.
const SYNC_BYTES = 2048

// Deflate cannot expand more than this.
const MAX_RATIO = 1032

// A sender who understates the size does not get us to collect crumbs.
const MIN_CHUNK = 64 * 1024

/**
 * Decompresses one or several gzip members (RFC 1952, section 2.2). Output is charged to `body` before it is
 * allocated or, where a sender understates it, as it is produced. Throws `too_large` over `maxBytes` of output,
 * `busy` over the budget, and `broken` where the bytes are not gzip.
 */
export async function gunzip(
  compressed: Uint8Array,
  maxBytes: number,
  body: Body,
  broken: RefusalCode,
): Promise<Uint8Array> {
  // The last word of a gzip file is the size of its last member, if the sender is honest. A chunk that large takes
  // the whole output at once: no list of chunks and no copy.
  const { length } = compressed
  const ceiling = Math.min(maxBytes, length * MAX_RATIO)
  const expected = Math.min(lastWord(compressed), ceiling) + 64
  const chunkSize = length > SYNC_BYTES ? Math.max(MIN_CHUNK, expected) : expected
  body.charge(chunkSize)
  if (length > SYNC_BYTES) return gunzipStream(compressed, chunkSize, maxBytes, body, broken)
  try {
    const out = gunzipSync(compressed, { chunkSize, maxOutputLength: maxBytes })
    if (out.length > chunkSize) body.charge(out.length - chunkSize)
    return out
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(maxBytes)
    throw notGzip(broken, error)
  }
}

function gunzipStream(
  compressed: Uint8Array,
  chunkSize: number,
  maxBytes: number,
  body: Body,
  broken: RefusalCode,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const engine = createGunzip({ chunkSize })
    const chunks: Buffer[] = []
    let size = 0
    const fail = (error: unknown) => {
      reject(error)
      engine.destroy()
    }
    engine.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > maxBytes) {
        fail(tooLarge(maxBytes))
        return
      }
      try {
        // The first chunk is charged already; each further one is charged when it shows up.
        if (chunks.length > 0) body.charge(chunk.length + CHUNK_COST)
      } catch (error) {
        fail(error)
        return
      }
      chunks.push(chunk)
    })
    engine.on('error', (error) => fail(notGzip(broken, error)))
    engine.on('end', () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size)))
    engine.end(compressed)
  })
}

export function tooLarge(maxBytes: number): Refusal {
  return new Refusal('too_large', `the request is over the limit of ${maxBytes} bytes`)
}

function notGzip(code: RefusalCode, cause: unknown): Refusal {
  return new Refusal(code, 'the body is not valid gzip', { cause })
}

function lastWord(bytes: Uint8Array): number {
  const at = bytes.length - 4
  if (at < 0) return 0
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}
