/**
 * Which SDK has the process's spans. OpenTelemetry's API keeps the tracer provider that is registered first and refuses
 * others, which it says to its own diagnostics alone: whoever starts a second SDK gets no spans, silently.
 *
 * Known hole: a copy of the API that neither the application nor the SDK resolves to is not watched.
 */
import type { Context } from '@opentelemetry/api'
import type { Log } from './log.ts'
import type { Packages } from './require.ts'

/** What of the API is watched. */
export interface TraceApi {
  setGlobalTracerProvider(provider: never): boolean
}

const ADVICE =
  'leave one of them out: its set-up, or the register flag, with RootspanSpanProcessor and rootspanSampler in that set-up'

const LOST =
  'another OpenTelemetry SDK was started before this one and has all spans: their evidence is not recorded'
const REFUSED =
  'the application starts an OpenTelemetry SDK of its own: this one was first and has all spans, the processors and exporters of the other get none'
const REPLACED =
  'the application has put another OpenTelemetry SDK in the place of this one: the evidence of spans is not recorded any more'

/**
 * Watches who registers a tracer provider from now on, and says once who got no spans. `start` is to register ours, of
 * which `ours` is told right before. Results are those of the API.
 */
export function startWatched(
  apis: Iterable<TraceApi>,
  start: () => void,
  log: Log,
  ours: (provider: object) => void = () => {},
): void {
  let isStarting = true
  const telling = (provider: object): void => {
    if (isStarting) ours(provider)
  }
  const told = (isTaken: boolean): void => {
    if (isStarting && !isTaken) log.once(`${LOST}; ${ADVICE}`)
    else if (!isStarting) log.once(`${isTaken ? REPLACED : REFUSED}; ${ADVICE}`)
  }
  for (const api of apis) watch(api, telling, told, log)
  try {
    start()
  } finally {
    isStarting = false
  }
}

function watch(
  api: TraceApi,
  telling: (provider: object) => void,
  told: (isTaken: boolean) => void,
  log: Log,
): void {
  try {
    const { setGlobalTracerProvider: set } = api
    Object.defineProperty(api, 'setGlobalTracerProvider', {
      configurable: true,
      writable: true,
      value(this: TraceApi, provider: never): boolean {
        telling(provider)
        const isTaken = set.call(this, provider)
        told(isTaken)
        return isTaken
      },
    })
  } catch (error) {
    log.failed('watching for another SDK', error)
  }
}

/** Of OpenTelemetry's API, what each copy of it has for itself. */
export interface Api {
  readonly trace: TraceApi
  readonly ROOT_CONTEXT: Context
}

/** The API as these find it: its ES modules and its CommonJS are a copy each. */
export async function apisOf(places: readonly Packages[]): Promise<Api[]> {
  const apis = new Map<TraceApi, Api>()
  const name = '@opentelemetry/api'
  for (const { require, import: load } of places)
    for (const found of [() => require(name), () => load(name)])
      try {
        const { trace, ROOT_CONTEXT } = ((await found()) ?? {}) as Partial<Api>
        const isApi = typeof trace?.setGlobalTracerProvider === 'function' && ROOT_CONTEXT !== undefined
        if (isApi) apis.set(trace, { trace, ROOT_CONTEXT })
      } catch {
        // Not installed there, or not in that form.
      }
  return [...apis.values()]
}
