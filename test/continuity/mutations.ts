/**
 * What may be done to a good execution, each with the rule that must see it: at every place where it can be done.
 *
 * A mutation changes what was sent, as a liar, a bug or a loss on the way would: numbers and links of the emitters stay as
 * the processes gave them.
 */
import {
  type Attributes,
  fingerprint,
  transition,
  type VectorEvent,
  type VectorSpan,
  when,
} from '../vectors/continuity/spec.ts'
import { endOf, isGoverned, VERSIONS } from './clean-execution.ts'

export interface Mutation {
  readonly name: string
  /** The rule that must find it, at each place. */
  readonly rule: string
  /** It cannot be told from something that is allowed: the rule says that it does not know. */
  readonly isUnknown?: boolean
  /** Ids of the spans at which it can be done. */
  places(spans: readonly VectorSpan[]): number[]
  apply(spans: readonly VectorSpan[], place: number): VectorSpan[]
}

const claim = (span: VectorSpan | VectorEvent, key: string) => span.attributes?.[`governance.${key}`]
const isAction = (span: VectorSpan): boolean => claim(span, 'record.kind') === 'action'
const isServer = ({ kind }: VectorSpan): boolean => kind === 'server'
const has =
  (group: string) =>
  (span: VectorSpan): boolean =>
    span.events?.some(({ name }) => name === `governance.${group}`) === true
const decides = has('decision')
const seqOf = (span: VectorSpan): number => Number(claim(span, 'emitter.seq') ?? -1)

/** A mutation of one span by itself. */
function change(
  name: string,
  rule: string,
  where: (span: VectorSpan) => boolean,
  how: (span: VectorSpan, all: readonly VectorSpan[]) => VectorSpan,
): Mutation {
  return {
    name,
    rule,
    places: (spans) => spans.filter(where).map(({ id }) => id),
    apply: (spans, place) => spans.map((span) => (span.id === place ? how(span, spans) : span)),
  }
}

const withAttributes = (span: VectorSpan, attributes: Attributes): VectorSpan => ({
  ...span,
  attributes: { ...span.attributes, ...attributes },
})

/** The events of one group of a span, changed. */
function withEvents(
  span: VectorSpan,
  group: string,
  how: (event: VectorEvent) => VectorEvent | undefined,
): VectorSpan {
  const events = (span.events ?? []).flatMap((event) => {
    const changed = event.name === `governance.${group}` ? how(event) : event
    return changed === undefined ? [] : [changed]
  })
  return { ...span, events }
}

const say = (event: VectorEvent, attributes: Attributes): VectorEvent => ({
  ...event,
  attributes: {
    ...event.attributes,
    ...Object.fromEntries(Object.entries(attributes).map(([key, value]) => [`governance.${key}`, value])),
  },
})

const sayOn = (group: string, attributes: Attributes) => (span: VectorSpan) =>
  withEvents(span, group, (event) => say(event, attributes))

function without(group: string): (span: VectorSpan) => VectorSpan {
  return (span) => withEvents(span, group, () => undefined)
}

/** All that stand above a span. */
function ancestors(spans: readonly VectorSpan[], of: VectorSpan): VectorSpan[] {
  const parent = spans.find(({ id }) => id === of.parent)
  return parent === undefined ? [] : [parent, ...ancestors(spans, parent)]
}

/** The decision that the action at this place rests on, moved or changed. */
function decisionOf(
  name: string,
  rule: string,
  how: (span: VectorSpan, action: VectorSpan) => VectorSpan,
): Mutation {
  return {
    name,
    rule,
    places: (spans) => spans.filter(isAction).map(({ id }) => id),
    apply: (spans, place) => {
      const acts = spans.find(({ id }) => id === place)!
      const decision = claim(acts, 'decision.id')
      return spans.map((span) =>
        span.events?.some((event) => claim(event, 'decision.id') === decision) ? how(span, acts) : span,
      )
    },
  }
}

/** A transition right before the action at this place, on the span that it is part of. */
function before(name: string, rule: string, from: string, to: string): Mutation {
  return {
    name,
    rule,
    places: (spans) => spans.filter(isAction).map(({ id }) => id),
    apply: (spans, place) => {
      const acts = spans.find(({ id }) => id === place)!
      return spans.map((span) =>
        span.id === acts.parent
          ? { ...span, events: [...(span.events ?? []), transition(from, to, acts.at! - 0.01)] }
          : span,
      )
    },
  }
}

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'remove a numbered span',
    rule: 'GC-C01',
    places: (spans) => {
      const last = new Map<unknown, number>()
      for (const span of spans) {
        const emitter = claim(span, 'emitter.id')
        last.set(emitter, Math.max(last.get(emitter) ?? 0, seqOf(span)))
      }
      return spans
        .filter((span) => seqOf(span) > 0 && seqOf(span) < last.get(claim(span, 'emitter.id'))!)
        .map(({ id }) => id)
    },
    apply: (spans, place) => spans.filter(({ id }) => id !== place),
  },
  {
    name: 'remove a span above governed ones',
    rule: 'GC-N01',
    places: (spans) => {
      const above = new Set(
        spans.filter(isGoverned).flatMap((span) => ancestors(spans, span).map(({ id }) => id)),
      )
      // A request whose caller is not there has come from somewhere else, for all that anybody knows.
      const isCaller = (id: number): boolean =>
        spans.some(({ parent, remote }) => parent === id && remote === true)
      return [...above].filter((id) => !isCaller(id))
    },
    apply: (spans, place) => spans.filter(({ id }) => id !== place),
  },
  {
    name: 'remove the caller of another process',
    rule: 'GC-N05',
    // It may as well have come from outside.
    isUnknown: true,
    places: (spans) => spans.filter(({ remote }) => remote === true).map(({ parent }) => parent!),
    apply: (spans, place) => spans.filter(({ id }) => id !== place),
  },
  {
    name: 'cut the tail',
    rule: 'GC-N01',
    places: (spans) => spans.filter((span) => isAction(span)).map(({ id }) => id),
    apply: (spans, place) => {
      const last = endOf(spans.find(({ id }) => id === place)!)
      return spans.filter((span) => endOf(span) <= last)
    },
  },
  change(
    'give a span the number of another',
    'GC-C03',
    (span) => seqOf(span) > 0,
    (span) => withAttributes(span, { 'governance.emitter.seq': seqOf(span) - 1 }),
  ),
  change(
    'break the chain',
    'GC-C03',
    (span) => seqOf(span) >= 0,
    (span) => withAttributes(span, { 'governance.emitter.prev': 'f'.repeat(64) }),
  ),
  {
    name: 'send a span again with other content',
    rule: 'GC-N03',
    places: (spans) => spans.map(({ id }) => id),
    apply: (spans, place) => [...spans, { ...spans.find(({ id }) => id === place)!, name: 'something else' }],
  },
  {
    name: 'make a span its own ancestor',
    rule: 'GC-N03',
    places: (spans) => [...new Set(spans.flatMap((span) => ancestors(spans, span).map(({ id }) => id)))],
    apply: (spans, place) => {
      const below = spans.find((span) => ancestors(spans, span).some(({ id }) => id === place))!
      return spans.map((span) => (span.id === place ? { ...span, parent: below.id } : span))
    },
  },
  change('end a span in the future', 'GC-T02', isGoverned, (span) => ({ ...span, takes: 100_000 })),
  {
    ...change('begin before the parent', 'GC-T01', isGoverned, (span) => ({ ...span, at: span.at! - 60 })),
    places: (spans) =>
      spans.filter((span) => span.parent !== undefined && isGoverned(span)).map(({ id }) => id),
  },
  change('drop attributes', 'GC-C02', isGoverned, (span) => ({ ...span, dropped: 3 })),
  change(
    'send a request without its governance',
    'GC-R04',
    isServer,
    ({ attributes: _, events: __, ...span }) => span,
  ),
  change(
    'act for another trust domain',
    'GC-N05',
    ({ kind, id }) => kind === 'server' && id !== 1,
    (span) => ({
      ...span,
      service: `${span.service ?? 'api'} of a partner`,
    }),
  ),
  change('leave a link that leads nowhere', 'GC-N04', isGoverned, (span) => ({
    ...span,
    links: [99_999],
    linksRemote: false,
  })),
  change(
    'swap the token before an action',
    'GC-A08',
    isAction,
    sayOn('authorization', {
      'authorization.fingerprint': fingerprint('stolen'),
      'authorization.subject': fingerprint('mallory'),
      'authorization.id': 'token-x',
    }),
  ),
  {
    name: 'expire the token before an action',
    rule: 'GC-A03',
    places: (spans) => spans.filter(isAction).map(({ id }) => id),
    apply: (spans, place) => {
      const acts = spans.find(({ id }) => id === place)!
      const own = acts.events!.find(({ name }) => name === 'governance.authorization')!
      const token = claim(own, 'authorization.fingerprint')
      return spans.map((span) =>
        withEvents(span, 'authorization', (event) =>
          claim(event, 'authorization.fingerprint') === token
            ? say(event, { 'authorization.expires_at': when(Math.floor(acts.at!) - 5) })
            : event,
        ),
      )
    },
  },
  change(
    'widen the scope of what was handed on',
    'GC-L02',
    (span) => span.name === 'exchange',
    sayOn('authorization', { 'authorization.scope': ['refunds', 'admin'] }),
  ),
  change(
    'hand on for another principal',
    'GC-L01',
    (span) => span.name === 'exchange',
    sayOn('authorization', { 'authorization.subject': fingerprint('mallory') }),
  ),
  {
    name: 'leave out every authorization',
    rule: 'GC-A01',
    places: (spans) => spans.filter((span) => span.id === 1).map(({ id }) => id),
    apply: (spans) => spans.map(without('authorization')),
  },
  change(
    'decide for another principal',
    'GC-A10',
    decides,
    sayOn('decision', {
      'decision.subject.id': fingerprint('mallory'),
    }),
  ),
  decisionOf('move a decision after its action', 'GC-D04', (span, action) => {
    const later = action.at! + 2.5
    return withEvents({ ...span, at: later, takes: 0.01 }, 'decision', (event) => ({ ...event, at: later }))
  }),
  decisionOf('act in spite of a denial', 'GC-D02', (span) =>
    sayOn('decision', { 'decision.outcome': 'deny', 'decision.effect': 'blocked' })(span),
  ),
  decisionOf('act although the engine failed', 'GC-D05', (span) =>
    sayOn('decision', { 'decision.outcome': 'error' })(span),
  ),
  decisionOf('allow with errors', 'GC-D12', (span) =>
    sayOn('decision', { 'decision.errors.count': 1 })(span),
  ),
  change('do another action than was decided on', 'GC-D06', isAction, (span) =>
    withAttributes(span, { 'governance.action.digest': `sha256:${'0'.repeat(64)}` }),
  ),
  {
    name: 'leave out the decision',
    rule: 'GC-D01',
    // An action below one that was decided on rests on that.
    places: (spans) => spans.filter(({ name }) => name === 'refund').map(({ id }) => id),
    apply: (spans, place) => {
      const acts = spans.find(({ id }) => id === place)!
      const decision = claim(acts, 'decision.id')
      return spans
        .filter((span) => !span.events?.some((event) => claim(event, 'decision.id') === decision))
        .map((span) => {
          if (span.id !== place) return span
          const {
            'governance.decision.id': _,
            'governance.action.digest': __,
            ...attributes
          } = span.attributes!
          return { ...span, attributes }
        })
    },
  },
  change('roll back the policy', 'GC-P04', decides, sayOn('decision', { 'policy.version': VERSIONS[0] })),
  change(
    'drop the terminal transition',
    'GC-R01',
    ({ id }) => id === 1,
    (span) =>
      withEvents(span, 'transition', (event) =>
        claim(event, 'transition.to') === 'completed' ? undefined : event,
      ),
  ),
  change(
    'execute what was never permitted',
    'GC-R02',
    ({ id }) => id === 1,
    (span) =>
      withEvents(span, 'transition', (event) =>
        claim(event, 'transition.from') === 'permitted'
          ? say(event, { 'transition.from': 'requested' })
          : event,
      ),
  ),
  before('act after a refusal', 'GC-R03', 'authorized', 'refused'),
  before('act while suspended', 'GC-R05', 'executing', 'suspended'),
  {
    name: 'act long after anything was verified',
    rule: 'GC-R07',
    places: (spans) => spans.filter(isAction).map(({ id }) => id),
    apply: (spans, place) =>
      spans.map((span) =>
        span.id === place ? { ...span, at: span.at! + 4000 } : span.id <= 2 ? { ...span, takes: 5000 } : span,
      ),
  },
]
