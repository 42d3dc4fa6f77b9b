/**
 * Requests by `fetch` and by every copy of undici, through undici's diagnostics channels.
 *
 * The channels for a body's chunks came with undici 7.12. Up to undici 7 the methods through which chunks pass are
 * known (`onBodySent`, `onData` of its internal Request), and are shadowed on the one request that is watched.
 */
import { context as contexts } from '@opentelemetry/api'
import { isAsking } from '../observe.ts'
import { listen, locate, shadow } from './channels.ts'
import { type HttpHook, type Watch, type WatchParts, watch } from './exchange.ts'

/** undici's internal Request, as far as its channels' documentation has it. */
interface UndiciRequest {
  readonly method?: unknown
  readonly path?: unknown
  readonly headers?: unknown
  readonly onData?: unknown
  readonly onBodySent?: unknown
}

interface Message {
  readonly request: UndiciRequest
  readonly chunk?: unknown
  readonly error?: unknown
  readonly response?: { readonly statusCode: number; readonly headers: unknown }
}

/** Returns what ends it. */
export function listenToUndici(hooks: readonly HttpHook[], parts: WatchParts): () => void {
  const watched = new WeakMap<object, Watch>()
  /** Those whose chunks come through their own methods and not also through the channels. */
  const shadowed = new WeakSet<object>()

  const create = ({ request }: Message): void => {
    const place = locate(hooks, request.method, request.path)
    if (place === undefined) return
    const caller = contexts.active()
    if (isAsking(caller)) return
    const one = watch(place, caller, (name) => headersOf(request.headers).get(name), parts)
    watched.set(request, one)
    if (typeof request.onData !== 'function' || typeof request.onBodySent !== 'function') return
    shadowed.add(request)
    shadow(request, 'onBodySent', (chunk) => one.sent(chunk))
    shadow(request, 'onData', (chunk) => one.received(chunk))
  }
  const listeners: Readonly<Record<string, (message: Message) => void>> = {
    'undici:request:create': create,
    'undici:request:bodyChunkSent': ({ request, chunk }) => {
      if (!shadowed.has(request)) watched.get(request)?.sent(chunk)
    },
    'undici:request:headers': ({ request, response }) => {
      const one = watched.get(request)
      if (one === undefined || response === undefined) return
      const headers = headersOf(response.headers)
      one.answered(response.statusCode, (name) => headers.get(name))
    },
    'undici:request:bodyChunkReceived': ({ request, chunk }) => {
      if (!shadowed.has(request)) watched.get(request)?.received(chunk)
    },
    'undici:request:trailers': ({ request }) => watched.get(request)?.end(),
    'undici:request:error': ({ request, error }) => watched.get(request)?.fail(error),
  }
  return listen(listeners, parts.log)
}

/** Raw headers, names and values in turn, as bytes or text; of a name that is repeated the last. */
function headersOf(raw: unknown): Map<string, string> {
  const headers = new Map<string, string>()
  if (!Array.isArray(raw)) return headers
  for (let at = 0; at + 1 < raw.length; at += 2)
    headers.set(String(raw[at]).toLowerCase(), String(raw[at + 1]))
  return headers
}
