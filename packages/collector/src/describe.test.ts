import { WireWriter } from '@rootspan/lineage/wire'
import { describe, expect, test } from 'vitest'
import { EPOCH, type SpanSpec, TestLog } from '../../../test/support/executions.ts'
import type { OpenSpan } from './assembler.ts'
import { describeSegment, ServiceNames, serviceName } from './describe.ts'

const log = new TestLog()

/** Spans as the assembler gives them: with their end times. */
function spansOf(...specs: SpanSpec[]): OpenSpan[] {
  return log.request(1, specs).map((span, at) => {
    const end = EPOCH + BigInt(specs[at]!.end ?? 0)
    return { ...span, endHigh: Number(end >> 32n), endLow: Number(end & 0xffff_ffffn) } as OpenSpan
  })
}

const text = (value: string) => new WireWriter().string(1, value).finish()
const attribute = (key: string, value: Uint8Array) => new WireWriter().string(1, key).bytes(2, value).finish()
const nameOf = (...attributes: Uint8Array[]) => {
  const out = new WireWriter(4096)
  for (const one of attributes) out.bytes(1, one)
  const resource = out.finish()
  return serviceName(resource, 0, resource.length)
}

describe('a segment', () => {
  test('spans the earliest start to the latest end, over 32 bits', () => {
    const times = (start: number, end: number) => ({ start, end })
    const spans = spansOf(
      { id: 1, ...times(5e9, 6e9), name: 'first in record order' },
      { id: 2, ...times(3, 4) },
      { id: 3, ...times(4, 20e9) },
      { id: 4, ...times(7e9, 8e9) },
    )
    expect(describeSegment(spans, new ServiceNames())).toMatchObject({
      start: EPOCH + 3n,
      end: EPOCH + 20_000_000_000n,
      name: 'first in record order',
    })
  })

  test('names each service once, in record order, 64 at most', () => {
    const spans = spansOf(...[3, 1, 3, 2].map((at) => ({ id: at, service: `s${at}` })))
    expect(describeSegment(spans, new ServiceNames()).services).toEqual(['s3', 's1', 's2'])
    const many = spansOf(...Array.from({ length: 80 }, (_, at) => ({ id: at + 1, service: `s${at}` })))
    expect(describeSegment(many, new ServiceNames()).services).toEqual(
      Array.from({ length: 64 }, (_, at) => `s${at}`),
    )
  })

  test('without a resource or a service has no services', () => {
    const [span] = spansOf({ id: 1, service: '' })
    expect(describeSegment([span!], new ServiceNames()).services).toEqual([])
    const bare = { ...span!, resourceStart: 0, resourceEnd: 0 }
    expect(describeSegment([bare], new ServiceNames()).services).toEqual([])
  })

  test('has a name of 255 bytes at most, cut between characters', () => {
    const named = (name: string) => describeSegment(spansOf({ id: 1, name }), new ServiceNames()).name
    expect(named('ü'.repeat(127))).toBe('ü'.repeat(127))
    expect(named('ü'.repeat(200))).toBe('ü'.repeat(127))
    expect(named(`a${'ü'.repeat(200)}`)).toBe(`a${'ü'.repeat(127)}`)
  })
})

describe('the name of a service', () => {
  test.each<[string, string, Uint8Array[]]>([
    [
      'is that attribute',
      'shop',
      [attribute('host.name', text('h')), attribute('service.name', text('shop'))],
    ],
    ['of two, the first', 'a', [attribute('service.name', text('a')), attribute('service.name', text('b'))]],
    ['not a number', '', [attribute('service.name', new WireWriter().varint(3, 5).finish())]],
    ['not without a value', '', [new WireWriter().string(1, 'service.name').finish()]],
    ['not of a longer key', '', [attribute('service.names', text('x'))]],
    [
      'whatever came first, key or value',
      'v',
      [new WireWriter().bytes(2, text('v')).string(1, 'service.name').finish()],
    ],
    [
      'broken UTF-8 is replaced',
      '\ufffd',
      [attribute('service.name', new WireWriter().bytes(1, Uint8Array.of(0xff)).finish())],
    ],
  ])('%s', (_, expected, attributes) => {
    expect(nameOf(...attributes)).toBe(expected)
  })
})
