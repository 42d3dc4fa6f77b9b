/**
 * Events of spans that carry facts. To exporters and processors of the application they are events like others; what
 * many of them have in common is one object, which is encoded once.
 */
import type { Attributes, HrTime } from '@opentelemetry/api'
import type { SpanEvent } from './delivery/span.ts'
import { Name } from './facts.ts'

/** Attributes that many events of one name have, and nobody changes. */
export class SharedAttributes {
  readonly attributes: Attributes
  /** They and the name as they are sent, from the first time on; see encode.ts. */
  bytes: Uint8Array | undefined = undefined
  /** Values among them that were cut. */
  readonly cut: number

  constructor(attributes: Attributes) {
    this.attributes = Object.freeze(attributes)
    this.cut = cutOf(attributes)
  }
}

/** How many values of a fact were cut. */
export function cutOf({ [Name.truncated]: count }: Attributes): number {
  return count === undefined ? 0 : Number(count)
}

/** A fact that comes again and again, with its attributes. */
export class PreparedFact<F> extends SharedAttributes {
  readonly fact: F
  /** Of an artifact: what later spans repeat of it, once one did. */
  repeated: SharedAttributes | undefined = undefined

  constructor(fact: F, attributes: Attributes) {
    super(attributes)
    this.fact = fact
  }
}

/** Attributes that an event may have beside those that it shares, in their order. */
export const OWN_NAMES = [Name.decisionId, Name.authorizationFingerprint, Name.decisionCount] as const

export class FactEvent implements SpanEvent {
  readonly name: string
  readonly time: HrTime
  readonly attributes: Attributes
  readonly droppedAttributesCount = 0
  #shared: SharedAttributes | undefined

  /** `attributes` are the shared ones themselves, or a copy of them with {@link OWN_NAMES} behind them. */
  constructor(name: string, time: HrTime, attributes: Attributes, shared?: SharedAttributes) {
    this.name = name
    this.time = time
    this.attributes = attributes
    this.#shared = shared
  }

  /** What the event shares, if it is one of these and shares anything. */
  static sharedOf(event: object): SharedAttributes | undefined {
    return #shared in event ? event.#shared : undefined
  }

  /** To be called before others of its attributes than {@link OWN_NAMES} are changed. */
  separate(): void {
    this.#shared = undefined
  }
}
