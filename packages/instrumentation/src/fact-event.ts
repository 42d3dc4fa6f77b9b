/**
 * Events of spans that carry facts. To exporters and processors of the application they are events like others; what
 * many of them have in common is one object, which is encoded once.
 */
import { inspect } from 'node:util'
import type { Attributes, HrTime } from '@opentelemetry/api'
import type { SpanEvent } from './delivery/span.ts'
import { type Decision, Name } from './facts.ts'

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

/** A decision that comes again and again, with its attributes. */
export class PreparedDecision extends SharedAttributes {
  readonly fact: Decision
  /** That of the fact, which is not looked at again: it is long out of the processor's caches. */
  readonly id: string | undefined

  constructor(fact: Decision, attributes: Attributes) {
    super(attributes)
    this.fact = fact
    this.id = fact.id
  }
}

/**
 * An event of a fact. What it has in common with others and what it has alone are put together for whoever asks for its
 * attributes, and for nobody else: that takes longer than all else that recording a decision does, and its bytes are
 * made without.
 *
 * Known holes: what a processor of the application changes within the attributes is not sent, only what it puts in their
 * place; `{...event}` and `structuredClone` leave them out.
 */
export class FactEvent implements SpanEvent {
  readonly name: string
  readonly time: HrTime
  readonly droppedAttributesCount = 0
  /** One private field: five take as long as all else of an event, where code is not optimized for good yet. */
  readonly #parts: EventParts

  /** `authorization` is the fingerprint of the artifact in force. */
  constructor(
    name: string,
    time: HrTime,
    attributes: Attributes | SharedAttributes,
    decisionId?: string,
    authorization?: string,
  ) {
    this.name = name
    this.time = time
    this.#parts = new EventParts(attributes, decisionId, authorization)
  }

  get shared(): SharedAttributes | undefined {
    const { given } = this.#parts
    return given instanceof SharedAttributes ? given : undefined
  }

  get decisionId(): string | undefined {
    return this.#parts.decisionId
  }

  get authorization(): string | undefined {
    return this.#parts.authorization
  }

  /** Values of its fact that were cut. */
  get cut(): number {
    const { given } = this.#parts
    return given instanceof SharedAttributes ? given.cut : cutOf(given)
  }

  /** How many decisions it stands for, where that is known. */
  get count(): number | undefined {
    return this.#parts.count
  }

  set count(count: number | undefined) {
    const parts = this.#parts
    parts.count = count
    if (parts.whole !== undefined) parts.whole[Name.decisionCount] = count
  }

  get attributes(): Attributes {
    const parts = this.#parts
    parts.whole ??= wholeOf(parts)
    return parts.whole
  }

  set attributes(attributes: Attributes) {
    const parts = this.#parts
    parts.given = attributes
    parts.whole = attributes
  }

  /** Its attributes, which may be changed: it shares nothing any more. */
  separate(): Attributes {
    const { attributes } = this
    this.#parts.given = attributes
    return attributes
  }

  /** As events of the SDK look to `JSON.stringify` and, below, to `console.log`. */
  toJSON(): SpanEvent {
    const { name, attributes, time, droppedAttributesCount } = this
    return { name, attributes, time, droppedAttributesCount }
  }

  [inspect.custom](): SpanEvent {
    return this.toJSON()
  }
}

/** What an event's attributes are made of. */
class EventParts {
  /** Not looked at before somebody asks: what is shared is long out of the processor's caches. */
  given: Attributes | SharedAttributes
  readonly decisionId: string | undefined
  readonly authorization: string | undefined
  count: number | undefined = undefined
  /** All attributes, once they were asked for. */
  whole: Attributes | undefined = undefined

  constructor(
    given: Attributes | SharedAttributes,
    decisionId: string | undefined,
    authorization: string | undefined,
  ) {
    this.given = given
    this.decisionId = decisionId
    this.authorization = authorization
  }
}

function wholeOf({ given, decisionId, authorization, count }: EventParts): Attributes {
  const attributes = { ...(given instanceof SharedAttributes ? given.attributes : given) }
  if (decisionId !== undefined) attributes[Name.decisionId] = decisionId
  if (authorization !== undefined) attributes[Name.authorizationFingerprint] = authorization
  if (count !== undefined) attributes[Name.decisionCount] = count
  return attributes
}
