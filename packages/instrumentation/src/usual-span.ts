/**
 * Spans of the SDK's own class, put together without its constructor. What is not written here, such as events, links,
 * values that are lists, and a time of its own at the end, is done by the code of that class.
 *
 * Its fields are the SDK's own affair, so they are compared first: where there are others than those below, there are no
 * such spans. Known holes: a version of the SDK that gives a field another meaning and keeps its name is not told from
 * those that are known, 2.x and 3.x; and who wraps `setAttribute` or `end` of the SDK's class does not see these spans' own.
 */
import {
  type Attributes,
  type AttributeValue,
  type Context,
  type HrTime,
  type Link,
  type Span,
  type SpanContext,
  type SpanKind,
  type SpanStatus,
  SpanStatusCode,
  type TimeInput,
} from '@opentelemetry/api'
import type { Resource, Scope, SpanEvent } from './delivery/span.ts'
import { emptyList } from './short-lived.ts'
import { sumOf, timeOf } from './time.ts'

/** The SDK's, of all its processors. */
interface SpanProcessor {
  onStart(span: Span, parent: Context): void
  /** In later versions only. */
  onEnding?(span: Span): void
  onEnd(span: Span): void
}

/** Of the limits of a span, those that are looked at here. */
interface Limits {
  readonly attributeCountLimit?: number
  readonly attributeValueLengthLimit?: number
}

interface Fields {
  _spanContext: SpanContext
  kind: SpanKind
  parentSpanContext: SpanContext | undefined
  attributes: Attributes
  links: Link[]
  events: SpanEvent[]
  startTime: HrTime
  resource: Resource
  instrumentationScope: Scope
  _droppedAttributesCount: number
  _droppedEventsCount: number
  _droppedLinksCount: number
  name: string
  status: SpanStatus
  endTime: HrTime
  _ended: boolean
  _duration: HrTime
  _spanProcessor: SpanProcessor
  _spanLimits: Limits
  /** Milliseconds since the process began. */
  _performanceStartTime: number
  /** Milliseconds by which the system's clock is ahead of that of the process. */
  _performanceOffset: number
  _startTimeProvided: boolean
  /** Of attributes that were put on it by way of the SDK. */
  _attributesCount: number
  // In some versions only:
  _attributeValueLengthLimit: number | undefined
  /** Tells metrics about the SDK itself. */
  _recordEndMetrics: (() => void) | undefined
}

const REQUIRED = [
  ...['_spanContext', 'kind', 'parentSpanContext', 'attributes', 'links', 'events', 'startTime', 'resource'],
  ...['instrumentationScope', '_droppedAttributesCount', '_droppedEventsCount', '_droppedLinksCount', 'name'],
  ...['status', 'endTime', '_ended', '_duration', '_spanProcessor', '_spanLimits', '_performanceStartTime'],
  ...['_performanceOffset', '_startTimeProvided', '_attributesCount'],
]
const OPTIONAL = ['_attributeValueLengthLimit', '_recordEndMetrics']

/** What the spans of one tracer have in common. */
type Common = Pick<
  Fields,
  'resource' | 'instrumentationScope' | '_spanProcessor' | '_spanLimits' | '_attributeValueLengthLimit'
>

/** What a span begins with. Attributes are its own from then on: plain values, and within the limits. */
export interface Beginning {
  readonly name: string
  readonly kind: SpanKind
  readonly spanContext: SpanContext
  readonly parent: SpanContext | undefined
  readonly attributes: Attributes
}

type UsualSpan = Span & Fields

/** Makes spans as one tracer of the SDK makes them. */
export interface Maker {
  /** Processors are told of it. */
  start(beginning: Beginning, parent: Context): Span
  /** Whether the span was made so, for whichever tracer. */
  isMade(span: object): boolean
  /** Attributes that a span may have. */
  readonly attributeLimit: number
}

type SpanClass = new (beginning: Beginning, common: Common) => UsualSpan

/** By the prototype of the SDK's class. */
const classes = new WeakMap<object, SpanClass>()

/** Makes spans such as this one of the SDK's; undefined where it is of a class that is not known, or has unusual limits. */
export function makerOf(span: Span): Maker | undefined {
  const names = Object.keys(span)
  const isKnown =
    REQUIRED.every((name) => names.includes(name)) &&
    names.every((name) => REQUIRED.includes(name) || OPTIONAL.includes(name))
  if (!isKnown) return undefined
  const { resource, instrumentationScope, _spanProcessor, _spanLimits, _attributeValueLengthLimit } =
    span as UsualSpan
  const { attributeCountLimit, attributeValueLengthLimit = Number.POSITIVE_INFINITY } = _spanLimits
  if (typeof attributeCountLimit !== 'number' || Number.isFinite(attributeValueLengthLimit)) return undefined
  const base = Object.getPrototypeOf(span) as object
  const known = classes.get(base) ?? classOf(base)
  classes.set(base, known)
  const common = { resource, instrumentationScope, _spanProcessor, _spanLimits, _attributeValueLengthLimit }
  return {
    start(beginning, parent) {
      const span = new known(beginning, common)
      _spanProcessor.onStart(span, parent)
      return span
    },
    isMade: (one) => one instanceof known,
    attributeLimit: attributeCountLimit,
  }
}

export function isPlain(value: unknown): value is string | number | boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
}

/** What the SDK puts in its place is another object. */
const UNSET: SpanStatus = Object.freeze({ code: SpanStatusCode.UNSET })
/** As the SDK has them until a span ends. */
const NO_TIME: HrTime = [0, 0]
const NO_DURATION: HrTime = [-1, -1]

function classOf(base: object): SpanClass {
  const Base = function sdkSpan() {} as unknown as new () => UsualSpan
  Base.prototype = base
  return class extends Base {
    constructor({ name, kind, spanContext, parent, attributes }: Beginning, common: Common) {
      super()
      const millis = Date.now()
      const begun = performance.now()
      this._spanContext = spanContext
      this.kind = kind
      this.parentSpanContext = parent
      this.attributes = attributes
      this.links = emptyList()
      this.events = emptyList()
      this.startTime = timeOf(millis)
      this.resource = common.resource
      this.instrumentationScope = common.instrumentationScope
      this._droppedAttributesCount = 0
      this._droppedEventsCount = 0
      this._droppedLinksCount = 0
      this._attributesCount = Object.keys(attributes).length
      this.name = name
      this.status = UNSET
      this.endTime = NO_TIME
      this._ended = false
      this._duration = NO_DURATION
      this._spanProcessor = common._spanProcessor
      this._spanLimits = common._spanLimits
      this._attributeValueLengthLimit = common._attributeValueLengthLimit
      this._recordEndMetrics = undefined
      this._performanceStartTime = begun
      this._performanceOffset = millis - (begun + performance.timeOrigin)
      this._startTimeProvided = false
    }

    override setAttribute(name: string, value: AttributeValue): this {
      const { attributes } = this
      if (this._ended || !isPlain(value) || name === '') return super.setAttribute(name, value)
      if (!Object.hasOwn(attributes, name)) {
        if (this._attributesCount >= this._spanLimits.attributeCountLimit!)
          return super.setAttribute(name, value)
        this._attributesCount++
      }
      attributes[name] = value
      return this
    }

    override end(time?: TimeInput): void {
      if (time !== undefined || this._ended || this._droppedEventsCount > 0 || this._droppedLinksCount > 0) {
        super.end(time)
        return
      }
      this._duration = timeOf(performance.now() - this._performanceStartTime)
      this.endTime = sumOf(this.startTime, this._duration)
      const processor = this._spanProcessor
      processor.onEnding?.(this)
      this._ended = true
      processor.onEnd(this)
    }
  }
}
