/**
 * Requests by `node:http` and `node:https`, and so by axios, got and others, through Node's diagnostics channels.
 *
 * The channels tell of requests and responses and not of their bytes. Of a request that is watched, `write` and `end`
 * are shadowed, and `push` of its response, into which Node's parser puts what arrives.
 */

import type { ClientRequest, IncomingMessage } from 'node:http'
import { type Context, context as contexts, trace } from '@opentelemetry/api'
import type { Scopes } from '../../scope.ts'
import { isAsking } from '../observe.ts'
import { listen, locate, shadow } from './channels.ts'
import { type HttpHook, type Watch, type WatchParts, watch } from './exchange.ts'

interface Message {
  readonly request: ClientRequest
  readonly response?: IncomingMessage
  readonly error?: unknown
}

/** Returns what ends it. */
export function listenToNode(hooks: readonly HttpHook[], parts: WatchParts & { scopes: Scopes }): () => void {
  const watched = new WeakMap<ClientRequest, Watch>()

  const created = ({ request }: Message): void => {
    const place = locate(hooks, request.method, request.path)
    if (place === undefined) return
    const active = contexts.active()
    if (isAsking(active)) return
    const sent = (name: string): string | undefined => textIn(request.getHeader(name))
    const one = watch(place, callerOf(active, parts.scopes), sent, parts)
    watched.set(request, one)
    shadow(request, 'write', (chunk, encoding) => one.sent(chunk, encoding))
    shadow(request, 'end', (chunk, encoding) => one.sent(chunk, encoding))
  }
  const answered = ({ request, response }: Message): void => {
    const one = watched.get(request)
    if (one === undefined || response === undefined) return
    // As they came: axios takes `content-encoding` away before it decompresses.
    const headers = { ...response.headers }
    one.answered(response.statusCode ?? 0, (name) => textIn(headers[name]))
    shadow(response, 'push', (chunk, encoding) => {
      if (chunk === null) one.end()
      else one.received(chunk, encoding)
    })
    response.once('close', () => one.fail({ code: 'closed' }))
  }
  const listeners: Readonly<Record<string, (message: Message) => void>> = {
    'http.client.request.created': created,
    'http.client.response.finish': answered,
    'http.client.request.error': ({ request, error }) => watched.get(request)?.fail(error),
  }
  return listen(listeners, parts.log)
}

/** The value of a header, the last one of a name that is repeated. */
function textIn(value: number | string | readonly string[] | undefined): string | undefined {
  return typeof value === 'object' ? value.at(-1) : value?.toString()
}

/** OpenTelemetry's HTTP instrumentation makes a request under the span of that request; the caller is one above. */
function callerOf(active: Context, scopes: Scopes): Context {
  const span = trace.getSpan(active) as { instrumentationScope?: { name?: unknown } } | undefined
  if (span?.instrumentationScope?.name !== '@opentelemetry/instrumentation-http') return active
  return scopes.callerOf(trace.getSpan(active)!) ?? active
}
