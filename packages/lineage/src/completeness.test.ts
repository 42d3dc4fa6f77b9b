import { expect, test } from 'vitest'
import { type SpanSpec, TestLog } from '../../../test/support/executions.ts'
import { verify } from './verify.ts'

const PREV = '0'.repeat(64)
const number = (seq: number, more: Record<string, number | string> = {}) => ({
  'governance.emitter.id': 'e1',
  'governance.emitter.seq': seq,
  ...(seq === 0 && { 'governance.emitter.prev': PREV }),
  ...more,
})
const completenessOf = async (...spans: SpanSpec[]) => {
  const log = new TestLog()
  log.settle(1, [spans])
  return verify(await log.bundle(1), log.policy).verdict.completeness
}

test('nothing is known where nobody numbers anything', async () => {
  expect(await completenessOf({ id: 1 })).toEqual({
    state: 'not provable',
    detail: ['no emitter counters: what was never sent cannot be told'],
  })
})

test('says what numbers show, and what has none', async () => {
  const numbered = { id: 1, attributes: number(0) }
  expect(await completenessOf(numbered)).toEqual({
    state: 'not provable',
    detail: [
      '1 process numbers its governed spans, and no number between those here is known to be missing: what came before and after them cannot be told',
    ],
  })
  const other = { id: 2, parent: 1, attributes: { ...number(0), 'governance.emitter.id': 'e2' } }
  const [detail] = (await completenessOf(numbered, other, { id: 3, parent: 1 })).detail
  expect(detail).toMatch(/^2 processes number their governed spans, .*; 1 span here has no number$/)
})

test('what a process lost by its own word is a gap, as is a parent that never came', async () => {
  const lost = { id: 1, attributes: number(0, { 'governance.emitter.dropped': 2 }) }
  expect(await completenessOf(lost, { id: 2, parent: 9 })).toEqual({
    state: 'gaps',
    detail: ['parent span 0000000000000009 never arrived', 'emitter e1 says that it lost 2 governed spans'],
  })
})
