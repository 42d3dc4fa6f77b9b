/** When open spans that carry facts are kept, should the process die: at once, soon, or with what comes together. */
import type { Span } from '@opentelemetry/api'
import type { SpanEvent } from './delivery/span.ts'
import { eventsOf, type Ledger } from './ledger.ts'
import type { Log } from './log.ts'

export interface Keeping {
  now(span: Span, ledger: Ledger): void
  /**
   * Keeps what says who was there and what was checked, once for all that comes together: a token and the verification of
   * it. Decisions and actions are kept at once, since what they permit may follow in the same breath.
   */
  soon(span: Span, ledger: Ledger): void
  /** Keeps what was aggregated since the first of a kind, once a second. */
  grown(span: Span, ledger: Ledger): void
  /** Runs `work` at once; what it keeps is kept after it, each span once. */
  together(work: () => void): void
  /** Keeps a span as it is now; never throws. */
  safely(span: Span, ledger: Ledger | undefined): void
}

export interface KeepingParts {
  /** Whether open spans are kept: else `keep` is not called. */
  readonly isKeeping: () => boolean
  /**
   * Told of an open span that carries facts or is an action, so that it can be kept should the process die; and of the
   * events that it will get when it ends.
   */
  readonly keep: (span: Span, events: readonly SpanEvent[]) => void
  readonly log: Log
}

/** How long counts that have grown are not kept. */
const GROWN_MILLIS = 1000

export function createKeeping({ isKeeping, keep, log }: KeepingParts): Keeping {
  /** Those that wait until what comes together is there. */
  let waiting: Map<Span, Ledger> | undefined

  const now = (span: Span, ledger: Ledger): void => {
    if (!isKeeping()) return
    if (waiting === undefined) keep(span, eventsOf(ledger))
    else waiting.set(span, ledger)
  }

  const together = (work: () => void): void => {
    if (waiting !== undefined) {
      work()
      return
    }
    const own = new Map<Span, Ledger>()
    waiting = own
    try {
      work()
    } finally {
      waiting = undefined
      for (const [span, ledger] of own) keepSafely(span, ledger)
    }
  }

  const soon = (span: Span, ledger: Ledger): void => {
    if (ledger.isToBeKept || !isKeeping()) return
    ledger.isToBeKept = true
    queueMicrotask(() => {
      ledger.isToBeKept = false
      keepSafely(span, ledger)
    })
  }

  const growing = new Map<Span, Ledger>()

  const grown = (span: Span, ledger: Ledger): void => {
    if (ledger.isGrowing || !isKeeping()) return
    ledger.isGrowing = true
    growing.set(span, ledger)
    if (growing.size > 1) return
    setTimeout(() => {
      for (const [span, one] of growing) {
        one.isGrowing = false
        keepSafely(span, one)
      }
      growing.clear()
    }, GROWN_MILLIS).unref()
  }

  const keepSafely = (span: Span, ledger: Ledger | undefined): void => {
    try {
      if (span.isRecording()) keep(span, ledger === undefined ? [] : eventsOf(ledger))
    } catch (error) {
      log.failed('keeping a fact', error)
    }
  }

  return { now, soon, grown, together, safely: keepSafely }
}
