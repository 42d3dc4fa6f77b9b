/**
 * `AsyncLocalStorage.run` in half of its time, where Node keeps the values of all storages in one frame (24 and later).
 *
 * A frame is a map from storages to values. It is copied, entry by entry, whenever a storage gets another value, which `run`
 * does at its beginning and again at its end. Here the frame of before is put back, and a frame with nothing else in it is
 * made anew and not copied.
 *
 * Known hole: what was started or bound before a `run` no longer sees a storage that is disabled after it, which with Node's
 * it does, against what Node says of `disable`.
 *
 * Frames are Node's own affair. An `AsyncResource` holds one, by which their class is found; it is tried first, and
 * where it is not what it is known to be, `run` it is.
 */
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks'
import { isDeepStrictEqual } from 'node:util'

/** Calls `target` with `value` in a storage. */
export type Run<T> = <R>(
  value: T,
  target: (...args: never[]) => R,
  self: unknown,
  args: ArrayLike<unknown>,
) => R

interface Frame {
  readonly size: number
  get(storage: object): unknown
  has(storage: object): boolean
}

export interface FrameClass {
  /** The frame of now with another value in it, which is not entered. */
  new (storage: object, value: unknown): Frame
  current(): Frame | undefined
  set(frame: Frame | undefined): void
}

/** As `storage.run` does. */
export function runnerOf<T>(storage: AsyncLocalStorage<T>, Frame: FrameClass | undefined): Run<T> {
  if (Frame === undefined)
    return (value, target, self, args) => storage.run(value, Reflect.apply, target, self, args)
  return (value, target, self, args) => {
    const prior = Frame.current()
    const before = prior?.get(storage)
    if (before === value) return Reflect.apply(target, self, args)
    let frame: Frame | undefined
    let size = 0
    try {
      if (prior?.size === 1 && prior.has(storage)) Frame.set(undefined)
      frame = new Frame(storage, value)
      size = frame.size
      Frame.set(frame)
      return Reflect.apply(target, self, args)
    } finally {
      // Whoever has entered another storage meanwhile stays in it, and one that was disabled stays so.
      if (Frame.current() === frame && frame?.size === size) Frame.set(prior)
      else storage.enterWith(before as T)
    }
  }
}

/** As `getStore` does, which asks a frame whether it has a value, and then for it. */
export function readerOf<T>(
  storage: AsyncLocalStorage<T>,
  Frame: FrameClass | undefined,
): () => T | undefined {
  if (Frame === undefined) return () => storage.getStore()
  return () => Frame.current()?.get(storage) as T | undefined
}

/** The class of Node's frames; undefined where there is none, or another one than is known. */
export function frameClass(): FrameClass | undefined {
  const one = new AsyncLocalStorage<number>()
  const other = new AsyncLocalStorage<number>()
  return one.run(1, () => {
    try {
      const Frame = classOfFrameIn(new AsyncResource('rootspan'))
      return Frame !== undefined && isKnown(Frame, one, other) ? Frame : undefined
    } catch {
      return undefined
    }
  })
}

function classOfFrameIn(resource: AsyncResource): FrameClass | undefined {
  const symbols = Object.getOwnPropertySymbols(resource)
  const symbol = symbols.find(({ description }) => description === 'context_frame')
  if (symbol === undefined) return undefined
  const frame = (resource as unknown as Readonly<Record<symbol, object | undefined>>)[symbol]
  return frame?.constructor as FrameClass | undefined
}

/** Tries all that is used of it, with two storages of which the first has 1. */
function isKnown(
  Frame: FrameClass,
  one: AsyncLocalStorage<number>,
  other: AsyncLocalStorage<number>,
): boolean {
  const have = (...values: unknown[]): boolean =>
    isDeepStrictEqual([one.getStore(), other.getStore()], values)
  const prior = Frame.current()
  try {
    const both = new Frame(other, 2)
    if (!have(1, undefined) || both.size < 2 || both.get(one) !== 1) return false
    Frame.set(both)
    if (Frame.current() !== both || !have(1, 2)) return false
    Frame.set(undefined)
    if (!have(undefined, undefined)) return false
    const alone = new Frame(other, 3)
    Frame.set(alone)
    return have(undefined, 3) && alone.size === 1 && alone.has(other) && !alone.has(one)
  } finally {
    Frame.set(prior)
  }
}
