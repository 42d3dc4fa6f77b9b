/**
 * Whether a request asked a policy engine. Its path says that it may have; that it has is known when its answer is there,
 * and until then its span is neither an action nor a question.
 *
 * A request is seen twice, by whoever makes a span of it and by the hook that watches it, in either order and within one
 * turn of the event loop, in the same context.
 */
import type { Context } from '@opentelemetry/api'

/** OPA's Data API. */
export const OPA_PATH = /^\/v1\/data(?:\/|$)/
/** AuthZEN's, with any prefix. */
export const AUTHZEN_PATH = /(?:^|\/)access\/v1\/evaluations?$/

/** What is known of one request. */
export interface Ask {
  isWatched: boolean
  /** Of one that is watched: whether it was for the engine; undefined until that is known. */
  isAsked: boolean | undefined
}

export function mayAsk(path: string): boolean {
  return OPA_PATH.test(path) || AUTHZEN_PATH.test(path)
}

interface Half {
  readonly by: 'span' | 'watch'
  readonly context: Context
  readonly path: string
  readonly ask: Ask
}

/** Seen once so far. */
let half: Half | undefined

/** To be called by both for each request that may ask; gives both the same. */
export function beginAsk(by: Half['by'], context: Context, target: string): Ask {
  const path = URL.parse(target, 'http://engine')?.pathname ?? target
  const other = half
  half = undefined
  if (other !== undefined && other.by !== by && other.context === context && other.path === path) {
    other.ask.isWatched = true
    return other.ask
  }
  const ask: Ask = { isWatched: false, isAsked: undefined }
  const own: Half = { by, context, path, ask }
  half = own
  queueMicrotask(() => {
    if (half === own) half = undefined
  })
  return ask
}
