/**
 * Buffers that requests go round in: the main thread receives and computes into them, the pipeline gets them with the
 * request, and gives them back when the last span of it is derived.
 *
 * Without it every body is allocated by one thread and freed by another some seconds later: malloc keeps the holes,
 * and the collection of garbage counts every body as news. With it what is needed under load is allocated once.
 */

/** Below this, a buffer is not worth the way back: malloc reuses small pieces well. */
export const MIN_POOLED_BYTES = 4096

/** No single request may take more than this share of the pool. */
const MAX_SHARE = 8

export class BufferPool {
  readonly #maxBytes: number
  /** Buffers that nobody uses, by their size. */
  readonly #free = new Map<number, ArrayBuffer[]>()
  /** Buffers in use on this thread. */
  readonly #taken = new Set<ArrayBuffer>()
  /** How many of each size were handed over and did not come back yet. */
  readonly #away = new Map<number, number>()
  #bytes = 0

  /** `maxBytes` bounds all buffers of the pool together, wherever they are. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Bytes of all its buffers: in use, handed over and free. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * A buffer of at least `size` bytes, with whatever is in it. `undefined` where the pool has no room, or the size is
   * one that it does not keep: then allocate.
   */
  take(size: number): ArrayBuffer | undefined {
    if (size < MIN_POOLED_BYTES || size > this.#maxBytes / MAX_SHARE) return undefined
    const bytes = sizeClass(size)
    let buffer = this.#free.get(bytes)?.pop()
    if (buffer === undefined) {
      if (!this.#makeRoom(bytes)) return undefined
      this.#bytes += bytes
      buffer = Buffer.allocUnsafeSlow(bytes).buffer as ArrayBuffer
    }
    this.#taken.add(buffer)
    return buffer
  }

  /** Whether these bytes lie in a buffer that was taken here and not handed over. */
  holds(bytes: Uint8Array): boolean {
    return this.#taken.has(bytes.buffer as ArrayBuffer)
  }

  /**
   * The buffer goes to another thread, before it is sent: a `release` by whoever took it means nothing from now on.
   * Does nothing where it is not the pool's.
   */
  handOver(buffer: ArrayBuffer): void {
    if (!this.#taken.delete(buffer)) return
    const { byteLength } = buffer
    this.#away.set(byteLength, (this.#away.get(byteLength) ?? 0) + 1)
  }

  /** Nobody on this thread looks at the buffer any more. Does nothing where it is not the pool's, or not any more. */
  release(buffer: ArrayBuffer): void {
    if (this.#taken.delete(buffer)) this.#put(buffer)
  }

  /** A buffer that was handed over comes back. One too many of its size, by whatever mistake, is not taken in. */
  comeBack(buffer: ArrayBuffer): void {
    const { byteLength } = buffer
    const away = this.#away.get(byteLength) ?? 0
    if (away === 0) {
      discard(buffer)
      return
    }
    this.#away.set(byteLength, away - 1)
    this.#put(buffer)
  }

  #put(buffer: ArrayBuffer): void {
    const bytes = buffer.byteLength
    const free = this.#free.get(bytes)
    if (free === undefined) this.#free.set(bytes, [buffer])
    else free.push(buffer)
  }

  /** Lets go of free buffers of other sizes until there is room; returns whether there is. */
  #makeRoom(bytes: number): boolean {
    for (const [size, free] of this.#free) {
      if (this.#bytes + bytes <= this.#maxBytes) break
      for (let buffer = free.pop(); buffer !== undefined; buffer = free.pop()) {
        discard(buffer)
        this.#bytes -= size
        if (this.#bytes + bytes <= this.#maxBytes) break
      }
      if (free.length === 0) this.#free.delete(size)
    }
    return this.#bytes + bytes <= this.#maxBytes
  }
}

/** The size of a pooled buffer for so many bytes: four sizes between each power of two and the next. */
export function sizeClass(size: number): number {
  const step = 2 ** (29 - Math.clz32(size - 1))
  return Math.ceil(size / step) * step
}

/** The other end: gathers what is to go back, so that it goes in few messages. */
export class Returns {
  #buffers: ArrayBuffer[] = []

  /** Nobody on this thread looks at the buffer any more. One that is not pooled is given to the system at once. */
  add(buffer: ArrayBuffer): void {
    const bytes = buffer.byteLength
    if (bytes >= MIN_POOLED_BYTES && sizeClass(bytes) === bytes) this.#buffers.push(buffer)
    else discard(buffer)
  }

  /** What was gathered since the last call. */
  take(): ArrayBuffer[] {
    const buffers = this.#buffers
    if (buffers.length > 0) this.#buffers = []
    return buffers
  }
}

/** Gives the memory of a buffer back at once; nobody may look at it any more. */
export function discard(buffer: ArrayBuffer): void {
  buffer.transfer(0)
}
