/** That facts which are kept are those that would be made each time. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Recorder } from '../recorder.ts'
import type { PreparedToken } from '../scope.ts'
import { type VerifiedFacts, type VerifiedTokens, verifiedTokens } from './verified.ts'

type Found = Parameters<VerifiedTokens['accept']>[1]

/** What is recorded, and how often facts were made. */
function recording() {
  const recorded: unknown[] = []
  const recorder = {
    prepareToken: (...facts: unknown[]) => facts as unknown as PreparedToken,
    verified: (token: PreparedToken) => recorded.push(token),
  } as unknown as Recorder
  const tokens = verifiedTokens(recorder)
  let made = 0
  return {
    recorded,
    made: () => made,
    accept: (token: unknown, found: Found) =>
      tokens.accept(token, found, () => {
        made++
        return factsOf(token, found)
      }),
    /** Whether the token was found, and is recorded once more. */
    acceptFound(token: unknown, found: Found) {
      const verified = tokens.find(token, found)
      if (verified !== undefined) recorder.verified(verified)
      return verified !== undefined
    },
  }
}

function factsOf(token: unknown, found: Found): VerifiedFacts | undefined {
  const [first] = typeof found === 'number' ? [found] : found
  if (first === 3) return undefined
  const subject = JSON.stringify([token, found])
  return {
    ...(first !== 2 && { authorization: { subject, verification: 'verified' as const } }),
    verification: { type: 'credential', result: 'pass', method: subject },
  }
}

/** Of few ends, so that many meet in one place; some too long to be kept, some no text. */
const TOKENS = fc.oneof(
  fc
    .tuple(fc.constantFrom('a', 'bb', 'x'.repeat(5000)), fc.constantFrom('', 's', '.123456', '.12345'))
    .map(([begin, end]) => begin + end),
  fc.constantFrom(undefined, null, 7),
)
const FOUND = fc.oneof(
  fc.constantFrom(-1, 0, 1, 2, 3),
  fc.array(fc.constantFrom('', 'a', 'b'.repeat(300), 'b'.repeat(5000), 1, true, undefined), { maxLength: 3 }),
  fc.constant(Array.from({ length: 100 }, (_, at) => at)),
)

test('of any sequence of tokens, the facts are those of each alone', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(TOKENS, FOUND), { maxLength: 40 }), (calls) => {
      const { accept, recorded } = recording()
      const expected = calls.flatMap(([token, found]) => {
        const facts = factsOf(token, found)
        expect(accept(token, found)).toBe(facts !== undefined)
        return facts === undefined ? [] : [[facts.authorization, facts.verification]]
      })
      expect(recorded).toEqual(expected)
    }),
    { numRuns: 2000 },
  )
})

test('a token is found once it was accepted, with what was found of it then, and recorded as it was', () => {
  const { accept, acceptFound, recorded, made } = recording()
  expect(acceptFound('header.payload.signature', 1)).toBe(false)
  accept('header.payload.signature', 1)
  expect(acceptFound('header.payload.signature', 1)).toBe(true)
  for (const [token, found] of [
    ['header.payload.signature', 0],
    ['header.other.signature', 1],
  ] as const)
    expect(acceptFound(token, found)).toBe(false)
  expect(recorded).toHaveLength(2)
  expect(recorded[1]).toEqual(recorded[0])
  expect(made()).toBe(1)
})

test('facts are made once for a token, also where it is verified in two ways by turns', () => {
  const { accept, made } = recording()
  for (let turn = 0; turn < 10; turn++) {
    accept('header.payload.signature', 1)
    accept('header.payload.signature', ['bearer', 'alice'])
  }
  expect(made()).toBe(2)
})

test('what is long is not kept', () => {
  const { accept, made } = recording()
  for (let turn = 0; turn < 3; turn++) {
    accept('x'.repeat(5000), 1)
    accept('token', ['b'.repeat(5000)])
    accept('token', new Array<number>(100).fill(1))
  }
  expect(made()).toBe(9)
})
