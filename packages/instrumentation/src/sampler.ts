/**
 * A sampler under which nobody outside can switch evidence off: requests and messages that enter the process, all below
 * them, and what is seen to be an action are recorded and sampled whatever a remote parent or a ratio says, and the span
 * says that this was so.
 */
import { type Attributes, type Context, type Link, SpanKind, TraceFlags, trace } from '@opentelemetry/api'
import { agentOperation, inferAction } from './actions.ts'
import { NAMESPACE, Name } from './facts.ts'
import { isAsking } from './hooks/observe.ts'
import { type Runtime, runtime } from './runtime.ts'

/** What a sampler decides, in every SDK; between them is to record and not to sample. */
export const NOT_RECORD = 0
export const RECORD_AND_SAMPLED = 2

/** The SDK's `SamplingResult` and `Sampler`, as all its versions have them. */
export interface SamplingResult {
  decision: number
  attributes?: Readonly<Attributes>
  traceState?: unknown
}

export interface Sampler {
  shouldSample(
    context: Context,
    traceId: string,
    spanName: string,
    spanKind: SpanKind,
    attributes: Attributes,
    links: Link[],
  ): SamplingResult
  toString(): string
}

const SAMPLED: SamplingResult = Object.freeze({ decision: RECORD_AND_SAMPLED })

const ALWAYS: Sampler = {
  shouldSample: () => SAMPLED,
  toString: () => 'AlwaysOnSampler',
}

/** Wraps the sampler that decides about everything else; without one, everything is sampled. */
export function rootspanSampler<S extends Sampler = Sampler>(
  delegate?: S,
  { scopes, log }: Pick<Runtime, 'scopes' | 'log'> = runtime(),
): Sampler {
  const inner: Sampler = delegate ?? ALWAYS
  const isGoverned = (context: Context, name: string, kind: SpanKind, attributes: Attributes): boolean => {
    const parent = trace.getSpan(context)
    const isLocalRoot = parent === undefined || parent.spanContext().isRemote === true
    if (isLocalRoot && (kind === SpanKind.SERVER || kind === SpanKind.CONSUMER)) return true
    if (!isLocalRoot && scopes.of(parent) !== undefined) return true
    for (const key in attributes) if (key.startsWith(NAMESPACE)) return true
    if (agentOperation(name, attributes) !== undefined) return true
    // Below a span of which nothing is recorded, as of a job: what is done is known all the same.
    return !isAsking(context) && inferAction(kind, name, attributes) !== undefined
  }
  return {
    shouldSample(context, traceId, name, kind, attributes, links) {
      const result = inner.shouldSample(context, traceId, name, kind, attributes, links)
      if (result.decision === RECORD_AND_SAMPLED) return result
      try {
        if (!isGoverned(context, name, kind, attributes)) return result
      } catch (error) {
        log.failed('the sampler', error)
        return result
      }
      const parent = trace.getSpanContext(context)
      const isOff = parent?.isRemote === true && (parent.traceFlags & TraceFlags.SAMPLED) === 0
      return {
        ...result,
        decision: RECORD_AND_SAMPLED,
        attributes: {
          ...result.attributes,
          [Name.samplingOverride]: isOff ? 'parent_not_sampled' : 'sampler_overruled',
        },
      }
    },
    toString: () => `Rootspan{${inner}}`,
  }
}

/** A parent-based sampler that need not be asked about the most frequent spans: those below a sampled one of this process. */
export function belowSampled(sampler: Sampler): Sampler {
  return {
    shouldSample(context, traceId, name, kind, attributes, links) {
      const parent = trace.getSpanContext(context)
      const isBelow =
        parent !== undefined && parent.isRemote !== true && (parent.traceFlags & TraceFlags.SAMPLED) !== 0
      return isBelow ? SAMPLED : sampler.shouldSample(context, traceId, name, kind, attributes, links)
    },
    toString: () => `${sampler}`,
  }
}
