/** Small OTLP/JSON requests for a collector that runs. */
import { randomBytes } from 'node:crypto'

export interface SentTrace {
  readonly traceId: string
  /** In the order of the request. */
  readonly spanIds: readonly string[]
  /** Journal position, where a receipt was asked for. */
  readonly position: number | undefined
}

/**
 * Sends one trace: a root and its children, in one request; or the children alone, as of a service whose caller has not
 * sent yet. Rejects unless all of it is accepted.
 */
export async function sendTrace(
  { http }: { readonly http: string },
  spans: number,
  options: { readonly receipt?: boolean; readonly isRootless?: boolean } = {},
): Promise<SentTrace> {
  const traceId = randomBytes(16).toString('hex')
  const spanIds = Array.from({ length: spans }, () => randomBytes(8).toString('hex'))
  const response = await fetch(`${http}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(options.receipt && { 'rootspan-receipt': '1' }) },
    body: JSON.stringify(requestOf(traceId, spanIds, options.isRootless)),
    signal: AbortSignal.timeout(30_000),
  })
  const text = await response.text()
  if (!response.ok || text !== '{}') throw new Error(`the collector answered ${response.status}: ${text}`)
  const position = response.headers.get('rootspan-receipt')
  return { traceId, spanIds, position: position === null ? undefined : Number(position) }
}

function requestOf(traceId: string, spanIds: readonly string[], isRootless = false): object {
  const root = isRootless ? randomBytes(8).toString('hex') : spanIds[0]
  const end = BigInt(Date.now()) * 1_000_000n
  const spans = spanIds.map((spanId, at) => ({
    traceId,
    spanId,
    ...((at > 0 || isRootless) && { parentSpanId: root }),
    name: at === 0 && !isRootless ? 'GET /' : `step ${at}`,
    kind: at === 0 && !isRootless ? 2 : 1,
    startTimeUnixNano: String(end - 1_000_000n + BigInt(at)),
    endTimeUnixNano: String(end),
    attributes: [{ key: 'step', value: { intValue: at } }],
  }))
  const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'traffic' } }] }
  return { resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'traffic' }, spans }] }] }
}
