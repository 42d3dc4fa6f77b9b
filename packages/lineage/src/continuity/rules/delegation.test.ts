/** Guards of GC-L01 to L04; what they find and what is fine stands in the vectors. */
import { describe, expect, test } from 'vitest'
import { judged } from '../../../../../test/support/judged.ts'
import {
  type Attributes,
  fact,
  fingerprint,
  REQUEST,
  token,
  type VectorEvent,
  type VectorSpan,
  when,
} from '../../../../../test/vectors/continuity/spec.ts'

const entry = (...events: readonly VectorEvent[]): VectorSpan => ({
  id: 1,
  kind: 'server',
  takes: 10,
  attributes: REQUEST,
  events,
})
const from = (parent: string, more: Attributes = {}) => ({
  'authorization.parent.fingerprint': fingerprint(parent),
  ...more,
})
const chain = (...actors: readonly string[]) => ({ 'authorization.actor.chain': actors.map(fingerprint) })
const bare = (name: string, more: Attributes = {}): VectorEvent =>
  fact('authorization', {
    'authorization.fingerprint': fingerprint(name),
    'authorization.type': 'biscuit',
    'authorization.verification': 'verified',
    ...more,
  })

function judge(rule: string, ...events: readonly VectorEvent[]): unknown[] {
  const execution = judged([[entry(...events)]])
  return [
    execution.result(rule),
    ...execution.missing(rule),
    ...execution.findings(rule).map(({ severity }) => severity),
  ]
}

describe('GC-L01', () => {
  test('is silent about artifacts without actors', () => {
    const other = { 'authorization.subject': fingerprint('api') }
    expect(judge('GC-L01', token('t'), token('u', from('t', other)))).toEqual([undefined])
  })

  test('does not know of actors that were left out', () => {
    const events = [token('t', chain('gateway')), token('u', from('t', chain('api')))]
    expect(judge('GC-L01', ...events)).toEqual(['unknown', 'actors that an issuer left out'])
  })

  test('compares the rest of the chain, actor by actor', () => {
    const first = token('t', chain('b', 'a'))
    expect(judge('GC-L01', first, token('u', from('t', chain('c', 'b', 'a'))))).toEqual(['pass'])
    expect(judge('GC-L01', first, token('u', from('t', chain('c', 'x', 'a'))))).toEqual(['fail', 'critical'])
    expect(judge('GC-L01', first, token('u', from('t', chain('c', 'b', 'a', 'z'))))).toEqual([
      'fail',
      'critical',
    ])
  })

  test('finds the parent by its id', () => {
    const parent = token('t', { 'authorization.id': 'jti-t' })
    const child = { 'authorization.parent.id': 'jti-t', ...chain('api') }
    expect(judge('GC-L01', parent, token('u', child))).toEqual(['pass'])
  })

  test('does not know of an opaque parent', () => {
    expect(judge('GC-L01', bare('t'), token('u', from('t', chain('api'))))).toEqual([
      'unknown',
      'whom an artifact is about',
    ])
  })
})

describe('GC-L02', () => {
  const scope = (...scopes: readonly string[]) => ({ 'authorization.scope': scopes })
  const until = (seconds: number) => ({ 'authorization.expires_at': when(seconds) })

  test('is silent where one says no scope', () => {
    expect(judge('GC-L02', token('t'), token('u', from('t', scope('a'))))).toEqual([undefined])
    expect(judge('GC-L02', token('t', scope('a')), token('u', from('t')))).toEqual([undefined])
  })

  test('compares scopes for one audience', () => {
    const meant = (name: string) => ({ 'authorization.audience': [name] })
    const first = token('t', { ...scope('a'), ...meant('x') })
    expect(judge('GC-L02', first, token('u', from('t', { ...scope('b'), ...meant('x') })))).toEqual([
      'fail',
      'critical',
    ])
    expect(judge('GC-L02', first, token('u', from('t', scope('b'))))).toEqual(['fail', 'critical'])
    expect(judge('GC-L02', first, token('u', from('t', { ...scope('b'), ...meant('y') })))[0]).toBe('unknown')
  })

  test('compares times only of what its holder narrows', () => {
    expect(judge('GC-L02', bare('t', until(10)), bare('u', from('t', until(13))))).toEqual([
      'fail',
      'critical',
    ])
    expect(judge('GC-L02', bare('t', until(10)), bare('u', from('t', until(12))))).toEqual([undefined])
    expect(judge('GC-L02', token('t', until(10)), token('u', from('t', until(90))))).toEqual([undefined])
  })

  test('does not know what is not here', () => {
    expect(judge('GC-L02', token('u', from('t', scope('a'))))).toEqual([
      'unknown',
      'an artifact from which another one came',
    ])
  })
})

describe('GC-L03', () => {
  test('counts hops or actors', () => {
    const actors = Array.from({ length: 9 }, (_, at) => `actor ${at}`)
    expect(judge('GC-L03', token('t'))).toEqual([undefined])
    expect(judge('GC-L03', token('t', { 'delegation.depth': 8 }))).toEqual(['pass'])
    expect(judge('GC-L03', token('t', chain(...actors)))).toEqual(['fail', 'medium'])
  })
})

describe('GC-L04', () => {
  test('is silent about what was not handed on', () => {
    expect(judge('GC-L04', bare('t'))).toEqual([undefined])
  })

  test('takes any root that is named', () => {
    expect(judge('GC-L04', bare('t', { 'delegation.depth': 1, 'delegation.root': 'alice' }))).toEqual([
      'pass',
    ])
    expect(judge('GC-L04', bare('t', { 'delegation.depth': 1, 'authorization.client.id': 'app' }))).toEqual([
      'pass',
    ])
    expect(judge('GC-L04', token('a'), bare('b', from('a')), bare('c', from('b')))).toEqual(['pass'])
  })

  test('finds artifacts that came from each other', () => {
    expect(judge('GC-L04', bare('a', from('b')), bare('b', from('a')))).toEqual(['fail', 'high', 'high'])
    expect(judge('GC-L04', bare('a', from('a')))).toEqual(['fail', 'high'])
  })

  test('does not know of what is opaque or not here', () => {
    const depth = { 'delegation.depth': 1 }
    expect(judge('GC-L04', bare('b', from('a')))).toEqual([
      'unknown',
      'an artifact from which another one came',
    ])
    expect(judge('GC-L04', bare('a', { ...depth, 'authorization.type': 'opaque' }))).toEqual([
      'unknown',
      'whom an artifact is about',
    ])
    expect(judge('GC-L04', bare('a'), bare('b', from('a')))).toEqual(['unknown', 'whom an artifact is about'])
  })
})
