/**
 * What other processes left in the spool: found, locked, checked and sent by whoever runs now.
 *
 * A torn end is cut. Spans that had not ended when their process died are sent as they were kept last, marked as
 * unfinished. Files are removed once everything in them is acknowledged, the oldest first.
 *
 * All files of one process are read over at once when they are found, which holds up the thread: they are at most as
 * large as the spool may be.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Log } from '../log.ts'
import type { Batch, Source } from './queue.ts'
import { type Frame, hasMagic, Kind, MAGIC, readFrame } from './spool-file.ts'
import { type Lock, takeLock } from './spool-lock.ts'

/** What became of the files of one dead process. */
export interface Recovery {
  readonly emitter: string
  readonly spans: number
  readonly unfinished: number
  /** Bytes behind the last sound frame, cut off. */
  readonly tornBytes: number
}

interface Place {
  readonly file: number
  readonly at: number
}

interface OrphanBatch extends Batch {
  readonly end: Place
}

const NAME = /^([0-9a-f]{32})\.\d+\.spool$/
const MAX_BATCH_BYTES = 2 << 20

export class Orphan implements Source {
  readonly emitter: string
  readonly #lock: Lock
  readonly #paths: readonly string[]
  readonly #fds: number[]
  /** Where the newest frames of spans that never ended are, by key. */
  readonly #unfinished = new Map<string, Place>()
  #read: Place = { file: 0, at: MAGIC.length }
  #spans = 0
  #unfinishedCount = 0
  #tornBytes = 0

  private constructor(emitter: string, lock: Lock, paths: readonly string[], log: Log) {
    this.emitter = emitter
    this.#lock = lock
    this.#paths = paths
    this.#fds = paths.map((path) => openSync(path, 'r+'))
    for (const [file, fd] of this.#fds.entries()) this.#scan(file, fd, log)
    this.#unfinishedCount = this.#unfinished.size
  }

  /** Takes the files of one process that has ended, if there are any. */
  static find(directory: string, except: ReadonlySet<string>, log: Log): Orphan | undefined {
    for (const emitter of emittersIn(directory)) {
      if (except.has(emitter)) continue
      const lock = takeLock(directory, emitter)
      if (lock === undefined) continue
      const paths = pathsOf(directory, emitter)
      if (paths.length > 0) return new Orphan(emitter, lock, paths, log)
      lock.release()
    }
    return undefined
  }

  get recovery(): Recovery {
    const { emitter } = this
    return { emitter, spans: this.#spans, unfinished: this.#unfinishedCount, tornBytes: this.#tornBytes }
  }

  next(maxSpans: number): Batch | undefined {
    const requests: Uint8Array[] = []
    let bytes = 0
    let { file, at } = this.#read
    while (requests.length < maxSpans && bytes < MAX_BATCH_BYTES && file < this.#fds.length) {
      const frame = readFrame(this.#fds[file]!, at)
      if (frame === undefined) {
        file++
        at = MAGIC.length
        continue
      }
      at = frame.end
      if (!this.#isToSend(frame, file)) continue
      requests.push(frame.request)
      bytes += frame.request.length
    }
    if (requests.length === 0) return undefined
    const batch: OrphanBatch = {
      spans: requests.length,
      body: () => Buffer.concat(requests),
      end: { file, at },
    }
    return batch
  }

  forget(batch: Batch): void {
    this.#read = (batch as OrphanBatch).end
    this.#spans += batch.spans
  }

  renew(): boolean {
    return this.#lock.renew()
  }

  /** Everything was acknowledged: the files go. */
  finish(): void {
    for (const [at, path] of this.#paths.entries()) {
      closeSync(this.#fds[at]!)
      rmSync(path, { force: true })
    }
    this.#lock.release()
  }

  /** Leaves the files to another process. */
  abandon(): void {
    for (const fd of this.#fds) closeSync(fd)
    this.#lock.release()
  }

  #isToSend({ kind, key, start }: Frame, file: number): boolean {
    if (kind === Kind.ended) return true
    const newest = this.#unfinished.get(key)
    return newest !== undefined && newest.file === file && newest.at === start
  }

  #scan(file: number, fd: number, log: Log): void {
    const { size } = fstatSync(fd)
    let at = 0
    if (hasMagic(fd)) {
      at = MAGIC.length
      for (let frame = readFrame(fd, at); frame !== undefined; frame = readFrame(fd, at)) {
        if (frame.kind === Kind.open) this.#unfinished.set(frame.key, { file, at })
        else this.#unfinished.delete(frame.key)
        at = frame.end
      }
    }
    if (at === size) return
    this.#tornBytes += size - at
    log.warn(`the spool of an earlier process is torn: ${size - at} bytes are cut`)
    ftruncateSync(fd, at)
  }
}

function emittersIn(directory: string): Set<string> {
  return new Set(readdirSync(directory).flatMap((name) => NAME.exec(name)?.[1] ?? []))
}

/** By number, which all have the same length. */
function pathsOf(directory: string, emitter: string): string[] {
  return readdirSync(directory)
    .filter((name) => NAME.exec(name)?.[1] === emitter)
    .sort()
    .map((name) => join(directory, name))
}
