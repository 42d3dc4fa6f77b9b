/** The state that hooks, sampler, processor and API of one process share, and how its parts are put together. */
import { type Span, type Tracer, trace } from '@opentelemetry/api'
import { SCHEMA_URL } from './attributes.ts'
import { type Config, readConfig } from './config.ts'
import { commitContent } from './content.ts'
import { type Continuity, createContinuity } from './continuity.ts'
import type { Delivery } from './delivery/delivery.ts'
import { asEnded, type ReadableSpan } from './delivery/span.ts'
import { createEmitter, type Emitter } from './emitter.ts'
import { createEndings, type Endings } from './ending.ts'
import { createEncoder, type FactEncoder, Name } from './facts.ts'
import { createIdle, type Idle } from './idle.ts'
import { createLog, type Log } from './log.ts'
import { createRecorder, type Recorder } from './recorder.ts'
import { createScopes, type Scopes } from './scope.ts'
import { createSecrets, type Secrets } from './secrets.ts'
import { NAME, VERSION } from './version.ts'

/** What was lost on governed spans. */
export interface Counts {
  droppedAttributes: number
  droppedEvents: number
  droppedLinks: number
  /** Values that the SDK cut. */
  cutValues: number
  /** Facts that had no room on their span, and values of facts that were cut. */
  truncatedFacts: number
  /** Facts for which no span could be had. */
  unrecorded: number
}

export interface Runtime {
  readonly config: Config
  readonly log: Log
  readonly secrets: Secrets
  readonly scopes: Scopes
  readonly endings: Endings
  readonly emitter: Emitter
  readonly idle: Idle
  readonly encode: FactEncoder
  readonly recorder: Recorder
  readonly counts: Counts
  /** The own path of governed spans, where there is one. */
  delivery: Delivery | undefined
  readonly continuity: Continuity
}

/** The tracer of our own spans, of whichever SDK is there. */
export function ownTracer(): Tracer {
  return trace.getTracerProvider().getTracer(NAME, VERSION, { schemaUrl: SCHEMA_URL })
}

export function createRuntime(config: Config, log: Log = createLog(config.logLevel)): Runtime {
  for (const problem of config.problems) log.warn(problem)
  if (config.fingerprintKey === undefined)
    log.warn(
      'no ROOTSPAN_FINGERPRINT_KEY: fingerprints match within this process only, not across services or restarts',
    )
  const secrets = createSecrets(config.fingerprintKey)
  const scopes = createScopes()
  const endings = createEndings(log)
  const idle = createIdle(log)
  const isKeeping = (): boolean => parts.delivery?.kind === 'spool'
  const emitter = createEmitter(endings, isKeeping)
  const encode = createEncoder(secrets, config.identities)
  const counts = {
    droppedAttributes: 0,
    droppedEvents: 0,
    droppedLinks: 0,
    cutValues: 0,
    truncatedFacts: 0,
    unrecorded: 0,
  }
  const tracer = ownTracer
  const recorder = createRecorder({
    scopes,
    encode,
    log,
    tracer,
    govern: emitter.govern,
    nextId: emitter.nextId,
    isKeeping,
    keep(span, events) {
      const attributes = { [Name.emitterId]: emitter.id, [Name.emitterUnfinished]: true }
      const copy = asEnded(span as Span & ReadableSpan, attributes, events)
      if (config.content === 'commit') commitContent(copy, secrets)
      parts.delivery?.keep(copy)
    },
    onUnrecorded: () => counts.unrecorded++,
    onTruncated(count) {
      counts.truncatedFacts += count
    },
  })
  const parts: Runtime = {
    config,
    log,
    secrets,
    scopes,
    endings,
    emitter,
    idle,
    encode,
    recorder,
    counts,
    delivery: undefined,
    continuity: createContinuity({
      config,
      emitter,
      counts,
      log,
      tracer,
      delivery: () => parts.delivery,
      flush() {
        idle.flush()
        recorder.flush()
        if (isKeeping()) for (const span of emitter.unended) recorder.keep(span)
      },
    }),
  }
  return parts
}

/** One for the process, however often this package is loaded: by `--import` and by the application. */
const SHARED = Symbol.for('rootspan.instrumentation/0.1')

/** The process's runtime, made at the first call. */
export function runtime(): Runtime {
  const shared = globalThis as { [SHARED]?: Runtime }
  shared[SHARED] ??= createRuntime(readConfig())
  return shared[SHARED]
}
