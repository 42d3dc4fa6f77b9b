/**
 * Where a request that was read waits while the pipeline is behind: a bounded number, in the order in which they came,
 * for a bounded time. So senders are slowed down by latency, and pushed back only when that does not help.
 *
 * What waits is still charged to the budget (budget.ts), which therefore bounds its bytes.
 */
import { type Ingest, type OnGone, Refusal, SenderGone } from './receiver.ts'

export interface WaitingRoomOptions {
  /**
   * Bytes that may be let in now; 0 or less is none. A request is let in while there are any, whatever its own size,
   * so that a small bound cannot refuse a large one for ever. What was let in must count by the next macrotask.
   */
  readonly room: () => number
  /** Why nothing is to be taken at all, and waiting would be in vain: a full disk. */
  readonly gate: () => Refusal | undefined
  /** A request that finds so many waiting is pushed back. Default 1024. */
  readonly maxWaiting?: number
  /** Nobody waits for longer. Default one second: much more, and senders would give up by themselves. */
  readonly maxMillis?: number
  /**
   * In so much time no more is let in than there is room for, so that room which is not renewed for a while runs out
   * slowly, and no second is without a request that is taken. A quarter of the room is there at once. Default 0: all is.
   */
  readonly paceMillis?: number
  /** Called once for each request that waits. */
  readonly onWait?: () => void
}

/** The share of the room that may be let in at once, and that a large request may be ahead of its time. */
const AT_ONCE = 1 / 4

/** How often it is looked whether there is room, while anybody waits. */
const LOOK_MILLIS = 10

interface Waiting {
  readonly bytes: number
  /** When its time is over, milliseconds of `performance.now`. */
  readonly until: number
  readonly resolve: () => void
  readonly reject: (reason: Refusal | SenderGone) => void
}

export class WaitingRoom {
  readonly #options: Required<WaitingRoomOptions>
  /** In the order in which they came. */
  readonly #waiting = new Set<Waiting>()
  #timer: NodeJS.Timeout | undefined
  #isClosed = false
  /** Bytes that may be let in at the time of `#paidAt`; below 0 after a request that was larger. */
  #allowance = 0
  #paidAt = Number.NEGATIVE_INFINITY

  constructor(options: WaitingRoomOptions) {
    this.#options = { maxWaiting: 1024, maxMillis: 1000, paceMillis: 0, onWait() {}, ...options }
  }

  /** How many wait now. */
  get size(): number {
    return this.#waiting.size
  }

  /** Why a request would be refused without waiting: asked before its body is read, so that nobody sends in vain. */
  refusal(): Refusal | undefined {
    const refusal = this.#options.gate()
    if (refusal !== undefined) return refusal
    return this.#waiting.size < this.#options.maxWaiting ? undefined : behind()
  }

  /** Resolves when a request of so many bytes may go on. Rejects with a {@link Refusal} or {@link SenderGone}. */
  async enter(bytes: number, onGone?: OnGone): Promise<void> {
    const refusal = this.refusal()
    if (refusal !== undefined) throw refusal
    if (this.#waiting.size === 0 && this.#pay() > 0) {
      this.#spend(bytes)
      return
    }
    if (this.#isClosed) throw shuttingDown()
    this.#options.onWait()
    return new Promise<void>((resolve, reject) => {
      const waiting = { bytes, until: performance.now() + this.#options.maxMillis, resolve, reject }
      this.#waiting.add(waiting)
      onGone?.(() => {
        if (this.#waiting.delete(waiting)) reject(new SenderGone())
      })
      this.#timer ??= setInterval(() => this.#look(), LOOK_MILLIS)
    })
  }

  /** Nobody waits from now on, for a shutdown; where there is room, requests under way are still let through. */
  close(): void {
    this.#isClosed = true
    this.#look()
  }

  /** Brings the allowance up to now, and returns it. */
  #pay(): number {
    const room = this.#options.room()
    const { paceMillis } = this.#options
    if (paceMillis === 0 || room <= 0) return room
    const now = performance.now()
    const earned = (room * Math.min(now - this.#paidAt, paceMillis)) / paceMillis
    this.#allowance = Math.min(this.#allowance + earned, room * AT_ONCE)
    this.#paidAt = now
    return this.#allowance
  }

  #spend(bytes: number): void {
    this.#allowance = Math.max(this.#allowance - bytes, -AT_ONCE * this.#options.room())
  }

  #look(): void {
    const { gate } = this.#options
    const refusal = this.#isClosed ? shuttingDown() : gate()
    const now = performance.now()
    let left = this.#pay()
    for (const waiting of this.#waiting) {
      if (refusal === undefined && left <= 0 && now < waiting.until) break
      this.#waiting.delete(waiting)
      if (refusal !== undefined) waiting.reject(refusal)
      else if (left > 0) {
        left -= waiting.bytes
        this.#spend(waiting.bytes)
        waiting.resolve()
      } else waiting.reject(behind())
    }
    if (this.#waiting.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

/** Lets requests through the room to an ingest. */
export function waiting(room: WaitingRoom, ingest: Ingest): Ingest {
  return async (request) => {
    await room.enter(request.body.length, request.onGone)
    return ingest(request)
  }
}

function shuttingDown(): Refusal {
  return new Refusal('unavailable', 'the collector is shutting down')
}

function behind(): Refusal {
  return new Refusal('busy', 'the pipeline is behind the journal')
}
