/** That facts which are kept are those that would be made each time. */
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Recorder, TokenFacts } from '../recorder.ts'
import type { PreparedToken } from '../scope.ts'
import { type VerifiedTokens, verifiedTokens } from './verified.ts'

type Found = Parameters<VerifiedTokens['find']>[1]

/** What is given for tokens that are accepted, and how often facts were made. */
function accepting() {
  const prepareToken: Recorder['prepareToken'] = ({ authorization, verification }, text, isMac, found) =>
    ({ authorization, verification, text, isMac, found }) as unknown as PreparedToken
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

/** As an issuer makes them, of one length. */
function tokenOf(at: number, alg = 'HS256', hash = 'sha256'): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${encode({ alg })}.${encode({ jti: String(at).padStart(6, '0') })}`
  return `${signed}.${createHmac(hash, 'key').update(signed).digest('base64url')}`
}

test('facts of a thousand tokens are made once each, however they meet', () => {
  const { accept, made } = accepting()
  for (let turn = 0; turn < 3; turn++) for (let at = 0; at < 1000; at++) accept(tokenOf(at), 1)
  expect(made()).toBe(1000)
})

/** What is kept of a token that was signed by the algorithm in its header. */
function keptOf(token: string) {
  const kept: (string | undefined)[] = []
  const prepareToken: Recorder['prepareToken'] = (_facts, text, isMac, found) => {
    kept.push(text)
    return { text, isMac, found } as unknown as PreparedToken
  }
  const tokens = verifiedTokens({ prepareToken } as Recorder)
  const [header] = token.split('.')
  const { alg: algorithm } = JSON.parse(Buffer.from(header!.replace(/\W/g, ''), 'base64url').toString())
  const made = tokens.keepSigned(token, 1, {
    authorization: { type: 'jwt', algorithm, verification: 'verified' },
    verification: { type: 'credential', result: 'pass', method: 'test' },
  })
  return { kept, find: (other: unknown, found: Found = 1) => tokens.find(other, found) === made }
}

test('a token with a MAC is known again by that, and by all of it', () => {
  const token = tokenOf(1)
  const { kept, find } = keptOf(token)
  expect(kept).toEqual([token.slice(-44)])
  expect(find(`Bearer ${token}`.split(' ')[1])).toBe(true)
  expect(find(token, 2)).toBe(false)
  for (let at = token.length - 44; at < token.length; at++) {
    const other = token[at] === 'A' ? 'B' : 'A'
    expect(find(token.slice(0, at) + other + token.slice(at + 1)), `character ${at}`).toBe(false)
  }
  for (const part of [token.slice(-44, -1), token.slice(-43), '', undefined, 7])
    expect(find(part), String(part)).toBe(false)
})

test.each([
  ['a longer MAC', tokenOf(1, 'HS512', 'sha512')],
  ['a signature', tokenOf(1, 'RS256')],
  ['a MAC that is cut', tokenOf(1).slice(0, -1)],
  ['an algorithm that is none', tokenOf(1, 'none')],
  ['a mark of the order of bytes before it', `\u00ef\u00bb\u00bf${tokenOf(1)}`],
])('a token with %s is known again by all of it', (_, token) => {
  const { kept, find } = keptOf(token)
  expect(kept).toEqual([token])
  expect(find(token)).toBe(true)
  const end = token.lastIndexOf('.')
  expect(find(`${token.slice(0, end - 1)}_${token.slice(end)}`)).toBe(false)
})

test('one that is accepted by its look alone is known again by all of it', () => {
  const { accept, find } = accepting()
  const token = tokenOf(1)
  accept(token, 1)
  expect(find(token, 1)).toBeDefined()
  expect(find(token.replace('.', '_'), 1)).toBeUndefined()
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
