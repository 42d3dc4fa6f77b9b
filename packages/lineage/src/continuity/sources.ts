/**
 * What is read of the request that spans came in: its receipt, and its resources as services. Once for all traces that
 * have spans in it.
 */
import { decodeResource, type KeyValue } from '../otlp/decode.ts'
import type { Source, SpanInput } from '../record/order.ts'
import { parseReceipt, type Receipt } from '../record/receipt.ts'

export type Received = Pick<Receipt, 'receivedAt' | 'peer' | 'receiver'>

/** A process, as a resource describes it. */
export interface Described {
  /** `service.name`, or empty. */
  readonly name: string
  readonly domain: string | undefined
  /** Version of the instrumentation; undefined where the resource names none. */
  readonly instrumentation: string | undefined
  /** Libraries whose hooks took hold, by the instrumentation's self-test. */
  readonly hooks: readonly string[]
  /** Hooked libraries whose hooks did not. */
  readonly ineffective: readonly string[]
  /** Resources with one key are one process. */
  readonly key: string
}

interface Request {
  received: Received | undefined
  /** By the place of the resource. */
  readonly resources: Map<number, Described>
}

const requests = new WeakMap<Source['contexts'], Request>()

function requestOf({ contexts }: Source): Request {
  let request = requests.get(contexts)
  if (request === undefined) {
    request = { received: undefined, resources: new Map() }
    requests.set(contexts, request)
  }
  return request
}

export function receivedOf(source: Source): Received {
  const request = requestOf(source)
  request.received ??= parseReceipt(source.receipt)
  return request.received
}

export function describedBy({ source, resourceStart, resourceEnd }: SpanInput): Described {
  const { resources } = requestOf(source)
  let described = resources.get(resourceStart)
  if (described === undefined) {
    described = describe(decodeResource(source.body.subarray(resourceStart, resourceEnd)).attributes)
    resources.set(resourceStart, described)
  }
  return described
}

function describe(attributes: readonly KeyValue[]): Described {
  const text = (key: string): string | undefined => {
    const value = attributes.find((attribute) => attribute.key === key)?.value
    return value?.type === 'string' ? value.value : undefined
  }
  const name = text('service.name') ?? ''
  const instrumentation = text('governance.instrumentation.version')
  const hooks = attributes.find(({ key }) => key === 'governance.instrumentation.hooks')?.value
  const lines =
    hooks?.type === 'array' ? hooks.value.flatMap((v) => (v.type === 'string' ? [v.value] : [])) : []
  const library = (line: string): string => line.split(' ')[0]!.replace(/@[^@]*$/, '')
  const isEffective = (line: string): boolean => / (?:effective|partial)$/.test(line)
  return {
    name,
    domain: text('governance.domain'),
    instrumentation,
    hooks: lines.filter(isEffective).map(library),
    ineffective: lines.filter((line) => !isEffective(line)).map(library),
    key: JSON.stringify([
      text('service.namespace') ?? '',
      name,
      text('service.instance.id') ?? '',
      instrumentation,
    ]),
  }
}
