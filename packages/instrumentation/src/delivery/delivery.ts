/**
 * The own path of governed spans to the collector, beside the SDK's: a queue in memory or on disk, and a loop that
 * sends its oldest spans until they are acknowledged, however long that takes.
 *
 * The SDK's batch processor drops what does not fit and what it cannot send in ten seconds. Here nothing that was
 * taken is given up unless the collector refuses it for good; what is not taken is counted.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { GOODBYE } from '../facts.ts'
import type { Log } from '../log.ts'
import { within } from '../time.ts'
import { Orphan, type Recovery } from './orphans.ts'
import { type Batch, MemoryQueue, type Queue, type Source } from './queue.ts'
import type { Encode, Pack } from './request.ts'
import type { Answer, Sender } from './send.ts'
import type { ReadableSpan } from './span.ts'
import { Spool } from './spool.ts'

/** What became of spans, since the process began. */
export interface DeliveryCounts {
  /** Refused for want of room, or because they could not be encoded or written. */
  dropped: number
  /** Refused by the collector for good. */
  rejected: number
  /** Requests that were not taken. Their spans wait and are sent again. */
  failures: number
}

export interface Acknowledgement {
  /** Place in the collector's journal at which the span is durable. */
  readonly position: string
}

export interface Delivery {
  readonly kind: 'memory' | 'spool'
  readonly counts: Readonly<DeliveryCounts>
  /** Governed spans that are not acknowledged yet. */
  readonly waiting: number
  /** Takes a governed span that ended. */
  add(span: ReadableSpan): void
  /** Keeps what an open span says so far, where there is a spool: a copy of it, as if it had ended. */
  keep(span: ReadableSpan): void
  /**
   * To be called before the span ends: it is then sent at once, in a request of its own. Resolves when the collector
   * has it durably, rejects when that is not so in time.
   */
  acknowledged(span: object, millis: number): Promise<Acknowledgement>
  /** Sends what waits. Resolves when nothing does, with true, or when the collector did not take it, with false. */
  flush(): Promise<boolean>
  /** For a process that exits at once: sends what waits in memory, and blocks the thread for a second at most. */
  sendAtExit(): void
  /** Nothing is sent or taken afterwards. What waits in a spool stays there for another process. */
  close(): void
}

export interface DeliveryOptions {
  readonly encode: Encode
  readonly pack: Pack
  readonly sender: Sender
  /** Sends requests though the process exits, and blocks the thread; whether all were taken. Undefined: it cannot. */
  readonly sendAtExit: ((bodies: readonly Uint8Array[], millis: number) => boolean) | undefined
  readonly log: Log
  readonly emitter: string
  readonly spool: { readonly directory: string; readonly maxBytes: number } | undefined
  /** Spans that memory holds at most. */
  readonly maxSpans: number
  /** Spans wait this long for others to be sent with. */
  readonly delayMillis: number
  /** Told of what a dead process had left, once it is acknowledged. */
  readonly onRecovery: (recovery: Recovery) => void
}

const MAX_BATCH_SPANS = 1024
const MIN_BACKOFF_MILLIS = 200
const MAX_BACKOFF_MILLIS = 5000
/** How often locks are renewed and what dead processes left is looked for. */
const CARE_MILLIS = 10_000
/** What earlier processes left is looked for when the service has had time to start. */
const START_MILLIS = 500
/** How long a flush keeps the process alive at most. */
const FLUSH_MILLIS = 3000
const RESOURCE_MILLIS = 5000
const EXIT_MILLIS = 1000

export function createDelivery(options: DeliveryOptions): Delivery {
  const { spool, emitter, encode, pack, log, maxSpans } = options
  if (spool !== undefined) {
    try {
      return new Deliverer(new Spool({ ...spool, emitter, encode, log }), options)
    } catch (error) {
      const { code = 'an error' } = error as NodeJS.ErrnoException
      log.warn(`ROOTSPAN_SPOOL cannot be used (${code}): governed spans wait in memory only`)
    }
  }
  return new Deliverer(new MemoryQueue(encode, pack, maxSpans), options)
}

class Deliverer implements Delivery {
  readonly counts: DeliveryCounts = { dropped: 0, rejected: 0, failures: 0 }
  readonly kind: Delivery['kind']
  readonly #options: DeliveryOptions
  readonly #queue: Queue
  readonly #direct = new WeakMap<object, (span: ReadableSpan) => void>()
  #orphan: Orphan | undefined
  #resource: ReadableSpan['resource'] | undefined
  /** All attributes of the resource are known. */
  #isSettled = false
  /** Runs what it is given outside of requests: what is started within one, such as a timer, holds on to its context. */
  readonly #outside = AsyncLocalStorage.snapshot()
  #timer: NodeJS.Timeout | undefined
  #due = 0
  #care: NodeJS.Timeout | undefined
  /** The run of the loop that is under way. */
  #draining: Promise<void> | undefined
  /** After failures, until when not to try. */
  #backoffMillis = 0
  #notBefore = 0
  /** Spans that left the queue. */
  #sent = 0
  /** Flushes that wait: for them the queue is emptied. */
  #flushes = 0
  #isClosed = false

  constructor(queue: Queue, options: DeliveryOptions) {
    this.#queue = queue
    this.#options = options
    this.kind = queue instanceof Spool ? 'spool' : 'memory'
    if (queue instanceof Spool) {
      this.#care = setInterval(() => this.#takeCare(), CARE_MILLIS)
      this.#care.unref()
      // What an earlier process left, as soon as this one has started.
      setTimeout(() => this.#takeCare(), START_MILLIS).unref()
    }
  }

  get waiting(): number {
    return this.#queue.waiting
  }

  add(span: ReadableSpan): void {
    this.#resource ??= span.resource
    const direct = this.#direct.get(span)
    if (direct !== undefined) {
      this.#direct.delete(span)
      // In memory it needs no second place unless it fails; on disk it is kept first.
      if (this.kind === 'memory') {
        direct(span)
        return
      }
    }
    this.#enqueue(span)
    direct?.(span)
  }

  #taken(span: ReadableSpan, isLast: boolean): boolean {
    try {
      return this.#queue.add(span, isLast)
    } catch (error) {
      this.#options.log.failed('encoding a span', error)
      return false
    }
  }

  #enqueue(span: ReadableSpan): void {
    const isLast = span.name === GOODBYE && span.spanContext().traceId === this.#options.emitter
    if (!this.#taken(span, isLast)) this.counts.dropped++
    else if (this.#queue.waiting >= MAX_BATCH_SPANS) this.#wake(0)
    else this.#wake(this.#options.delayMillis)
  }

  keep(span: ReadableSpan): void {
    this.#queue.keep(span)
  }

  acknowledged(span: object, millis: number): Promise<Acknowledgement> {
    return new Promise((resolve, reject) => {
      const end = Date.now() + millis
      // Keeps the process alive: somebody waits.
      const timer = setTimeout(() => reject(new Error('no acknowledgement in time')), millis)
      this.#direct.set(span, (ended) => {
        void this.#sendAlone(ended, end).then((answer) => {
          clearTimeout(timer)
          const position = answer.is === 'taken' && answer.rejected === 0 ? answer.position : undefined
          if (position !== undefined) resolve({ position })
          else reject(new Error(whyNot(answer)))
        })
      })
    })
  }

  async #sendAlone(span: ReadableSpan, end: number): Promise<Answer> {
    const { encode, sender, log } = this.#options
    let answer: Answer = { is: 'later', afterMillis: undefined, why: 'no acknowledgement in time' }
    try {
      await this.#settled(end - Date.now())
      const body = encode([span])
      for (let pause = 50; body !== undefined && Date.now() < end; pause *= 2) {
        answer = await sender.send(body, end - Date.now())
        if (answer.is !== 'later') break
        this.counts.failures++
        await sleep(Math.min(answer.afterMillis ?? pause, Math.max(0, end - Date.now())))
      }
    } catch (error) {
      log.failed('sending a span', error)
    }
    if (this.kind === 'memory') {
      if (answer.is === 'later') this.#enqueue(span)
      else this.counts.rejected += answer.is === 'refused' ? 1 : answer.rejected
    }
    return answer
  }

  async flush(): Promise<boolean> {
    // Connections do not keep the process alive, and somebody waits.
    const alive = setTimeout(() => {}, FLUSH_MILLIS)
    this.#flushes++
    try {
      await this.#draining
      this.#notBefore = 0
      // It may have been set for after a failure.
      clearTimeout(this.#timer)
      this.#timer = undefined
      await this.#drain()
      return this.#backoffMillis === 0
    } finally {
      this.#flushes--
      clearTimeout(alive)
    }
  }

  sendAtExit(): void {
    const { sendAtExit, log } = this.#options
    const { waiting } = this.#queue
    // In a spool it is safe.
    if (this.#isClosed || this.kind === 'spool' || waiting === 0) return
    let areTaken: boolean | undefined
    try {
      areTaken = sendAtExit?.(this.#emptied(), EXIT_MILLIS)
    } catch (error) {
      log.failed('sending what waits', error)
    }
    if (areTaken !== true)
      log.warn(`the process ends with ${waiting} governed spans that were not acknowledged`)
  }

  /** All that waits, as requests. */
  #emptied(): Uint8Array[] {
    const bodies: Uint8Array[] = []
    for (let limit = MAX_BATCH_SPANS; ; ) {
      const batch = this.#queue.next(limit)
      if (batch === undefined) return bodies
      const body = batch.body()
      if (body === undefined && batch.spans > 1) {
        limit = Math.ceil(batch.spans / 2)
        continue
      }
      if (body !== undefined) bodies.push(body)
      this.#queue.forget(batch)
      limit = MAX_BATCH_SPANS
    }
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#timer)
    clearInterval(this.#care)
    this.#orphan?.abandon()
    this.#queue.close()
    this.#options.sender.close()
  }

  /** Sends after this time at the latest, but not before a failure allows it. */
  #wake(millis: number): void {
    // One that is set runs out no later: it has the same delay and began earlier, or waits for what a failure allows.
    if (millis > 0 && this.#timer !== undefined) return
    const due = Math.max(Date.now() + millis, this.#notBefore)
    if (this.#isClosed || (this.#timer !== undefined && this.#due <= due)) return
    clearTimeout(this.#timer)
    this.#due = due
    const drain = (): void => {
      this.#timer = undefined
      void this.#drain()
    }
    this.#timer = this.#outside(setTimeout, drain, Math.max(1, due - Date.now()))
    this.#timer.unref()
  }

  /** Whether spans are sent without waiting for others. */
  get #isFull(): boolean {
    return this.#queue.waiting >= MAX_BATCH_SPANS || (this.#flushes > 0 && this.#queue.waiting > 0)
  }

  /** One run at a time; callers share it. */
  #drain(): Promise<void> {
    this.#draining ??= this.#run()
      .catch((error) => this.#options.log.failed('sending governed spans', error))
      .finally(() => {
        this.#draining = undefined
        const hasFailed = this.#notBefore > Date.now()
        if (this.#orphan !== undefined || (this.#queue.waiting > 0 && hasFailed)) this.#wake(0)
        else if (this.#queue.waiting > 0) this.#wake(this.#options.delayMillis)
      })
    return this.#draining
  }

  async #run(): Promise<void> {
    await this.#settled(RESOURCE_MILLIS)
    // What comes meanwhile waits for a full batch or for its time, unless somebody waits for it: a service under load
    // would otherwise send whatever came during one request in the next, in many small ones.
    const due = this.#sent + this.#queue.waiting
    while (this.#sent < due || this.#isFull) {
      if (this.#isClosed || (await this.#sendFrom(this.#queue)) !== 'more') break
      // Fresh spans go first, then one request of what a dead process left.
      if (this.#orphan !== undefined && (await this.#sendFrom(this.#orphan)) === 'later') return
    }
    for (;;) {
      const orphan = this.#orphan
      if (this.#isClosed || orphan === undefined) return
      const state = await this.#sendFrom(orphan)
      if (state === 'later') return
      if (state === 'more') continue
      const { recovery } = orphan
      orphan.finish()
      this.#orphan = undefined
      this.#options.log.info(
        `sent what an earlier process had left: ${recovery.spans} spans, ${recovery.unfinished} of them unfinished`,
      )
      this.#options.onRecovery(recovery)
      this.#findOrphan()
    }
  }

  /** Sends the source's oldest spans; halves a batch that is refused until the culprit is alone. */
  async #sendFrom(source: Source): Promise<'more' | 'none' | 'later'> {
    const { sender, log } = this.#options
    for (let limit = MAX_BATCH_SPANS; ; ) {
      if (Date.now() < this.#notBefore) return 'later'
      const batch = source.next(limit)
      if (batch === undefined) return 'none'
      const body = batch.body()
      if (body === undefined && batch.spans === 1) {
        log.once('a governed span could not be encoded, and is given up')
        this.counts.dropped++
        this.#leave(source, batch)
        return 'more'
      }
      const answer: Answer = body === undefined ? { is: 'refused' } : await sender.send(body)
      if (this.#isClosed) return 'later'
      if (answer.is === 'later') {
        this.#fail(answer)
        return 'later'
      }
      this.#backoffMillis = 0
      if (answer.is === 'refused' && batch.spans > 1) {
        limit = Math.ceil(batch.spans / 2)
        continue
      }
      const rejected = answer.is === 'refused' ? 1 : Math.min(answer.rejected, batch.spans)
      this.counts.rejected += rejected
      if (rejected > 0) log.once('the collector has refused governed spans for good')
      else if (answer.is === 'taken' && answer.position === undefined)
        log.once('the endpoint gives no receipts: spans are sent, but nobody says that they are durable')
      this.#leave(source, batch)
      return 'more'
    }
  }

  #leave(source: Source, batch: Batch): void {
    source.forget(batch)
    if (source === this.#queue) this.#sent += batch.spans
  }

  #fail({ afterMillis, why }: Extract<Answer, { is: 'later' }>): void {
    this.counts.failures++
    this.#backoffMillis = Math.min(Math.max(MIN_BACKOFF_MILLIS, this.#backoffMillis * 2), MAX_BACKOFF_MILLIS)
    this.#notBefore = Date.now() + (afterMillis ?? this.#backoffMillis * (0.5 + Math.random() / 2))
    this.#options.log.once(`governed spans cannot be sent (${why}); they wait`)
  }

  /** Attributes of the resource that are still being found out are waited for, in memory at least. */
  async #settled(millis: number): Promise<void> {
    if (this.#isSettled) return
    const pending = this.#resource?.waitForAsyncAttributes?.()
    if (pending === undefined) return
    const settled = (): void => {
      this.#isSettled = true
    }
    await within(pending.then(settled, settled), Math.max(0, millis), false)
  }

  #takeCare(): void {
    const { log } = this.#options
    try {
      if (this.#queue instanceof Spool && !this.#queue.renew()) {
        this.#queue.abandon()
        log.warn('another process has taken over this one’s spool: new spans are refused and counted')
      }
      if (this.#orphan?.renew() === false) {
        this.#orphan.abandon()
        this.#orphan = undefined
      }
      this.#findOrphan()
    } catch (error) {
      log.failed('looking after the spool', error)
    }
  }

  #findOrphan(): void {
    const { spool, emitter, log } = this.#options
    if (spool === undefined || this.kind !== 'spool' || this.#isClosed) return
    this.#orphan ??= Orphan.find(spool.directory, new Set([emitter]), log)
    if (this.#orphan !== undefined) this.#wake(0)
  }
}

function whyNot(answer: Answer): string {
  if (answer.is === 'later') return answer.why
  if (answer.is === 'refused' || answer.rejected > 0) return 'the collector refused it'
  return 'the endpoint gives no receipts'
}

function sleep(millis: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, millis).unref()
  })
}
