/** That facts which are kept are those that would be made each time. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Recorder, TokenFacts } from '../recorder.ts'
import type { PreparedToken } from '../scope.ts'
import { type VerifiedTokens, verifiedTokens } from './verified.ts'

type Found = Parameters<VerifiedTokens['find']>[1]

/** What is given for tokens that are accepted, and how often facts were made. */
function accepting() {
  const prepareToken: Recorder['prepareToken'] = ({ authorization, verification }, token, found) =>
    ({ authorization, verification, token, found }) as unknown as PreparedToken
  const tokens = verifiedTokens({ prepareToken } as Recorder)
  let made = 0
  return {
    made: () => made,
    find: (token: unknown, found: Found) => factsIn(tokens.find(token, found)),
    accept(token: unknown, found: Found) {
      const known = tokens.find(token, found)
      if (known !== undefined) return factsIn(known)
      made++
      return factsIn(tokens.keep(token, found, factsOf(token, found)))
    },
  }
}

function factsIn(token: PreparedToken | undefined) {
  return token && { authorization: token.authorization, verification: token.verification }
}

function factsOf(token: unknown, found: Found): TokenFacts {
  const [first] = Array.isArray(found) ? found : [found]
  const subject = JSON.stringify([token, typeof found, found])
  return {
    authorization: first === 2 ? undefined : { subject, verification: 'verified' },
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
const TEXTS = fc.constantFrom('', 'a', 'b'.repeat(300), 'b'.repeat(5000))
const FOUND = fc.oneof(
  fc.constantFrom(-1, 0, 1, 2, 3, true, undefined),
  TEXTS,
  fc.array(fc.oneof(TEXTS, fc.constantFrom(1, true, undefined)), { maxLength: 3 }),
  fc.constant(Array.from({ length: 100 }, (_, at) => at)),
)

test('of any sequence of tokens, the facts are those of each alone', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(TOKENS, FOUND), { maxLength: 40 }), (calls) => {
      const { accept } = accepting()
      for (const [token, found] of calls) expect(accept(token, found)).toEqual(factsOf(token, found))
    }),
    { numRuns: 2000 },
  )
})

test('a token is found once it was accepted, with what was found of it then', () => {
  const { accept, find, made } = accepting()
  expect(find('header.payload.signature', 1)).toBeUndefined()
  const accepted = accept('header.payload.signature', 1)
  expect(find('header.payload.signature', 1)).toEqual(accepted)
  for (const [token, found] of [
    ['header.payload.signature', 0],
    ['header.other.signature', 1],
  ] as const)
    expect(find(token, found)).toBeUndefined()
  expect(made()).toBe(1)
})

test('facts are made once for a token, also where it is verified in two ways by turns', () => {
  const { accept, made } = accepting()
  for (let turn = 0; turn < 10; turn++) {
    accept('header.payload.signature', 1)
    accept('header.payload.signature', ['bearer', 'alice'])
  }
  expect(made()).toBe(2)
})

test('what is long is not kept', () => {
  const { accept, made } = accepting()
  for (let turn = 0; turn < 3; turn++) {
    accept('x'.repeat(5000), 1)
    accept('token', 'b'.repeat(5000))
    accept('token', ['b'.repeat(5000)])
    accept('token', new Array<number>(100).fill(1))
  }
  expect(made()).toBe(12)
})
