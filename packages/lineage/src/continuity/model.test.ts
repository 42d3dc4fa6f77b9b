/** Whose log records count as said on a span. */
import { expect, test } from 'vitest'
import { EPOCH, TestLog } from '../../../../test/support/executions.ts'
import { action, INSTRUMENTED, REQUEST, token } from '../../../../test/vectors/continuity/spec.ts'
import { parsePayload } from '../record/payload.ts'
import { parseJudgement } from './judgement.ts'

/** What GC-A01 says of an action where a log record says that its request was authorized. */
function judged(span: string, log: { readonly peer: string; readonly receiver?: string }) {
  const made = new TestLog(undefined, EPOCH + 60_000_000_000n)
  const service = { service: 'shop', resource: INSTRUMENTED, peer: span }
  const spans = made.request(1, [
    { ...service, id: 1, kind: 2, end: 900_000_000, attributes: REQUEST },
    { ...service, id: 2, parent: 1, start: 50_000_000, attributes: action('refund') },
  ])
  const { name, attributes } = token('t')
  const said = made.request(1, [{ ...service, ...log, id: 1, log: true, name, attributes }])
  made.seal(1, [...spans, ...said])
  const { results } = parseJudgement(parsePayload(made.segments(1).at(-1)!.payload).judgement)
  return results.find(({ rule }) => rule === 'GC-A01')?.result
}

test.each([
  ['nobody is authenticated', '', { peer: '' }, 'pass'],
  ['its own sender says it', 'shop', { peer: 'shop' }, 'pass'],
  ['another sender says it', 'shop', { peer: 'pay' }, 'fail'],
  ['nobody known says it', 'shop', { peer: '' }, 'fail'],
  ['a system with a door of its own says it', 'shop', { peer: 'policy-team', receiver: 'opa' }, 'pass'],
] as const)('where %s', (_, span, log, expected) => {
  expect(judged(span, log)).toBe(expected)
})
