/** Tokens that end alike; the rest is tested against jsonwebtoken itself, see test/instrumentation. */
import { expect, test } from 'vitest'
import { createLog } from '../log.ts'
import type { Recorder, TokenFacts } from '../recorder.ts'
import type { PreparedToken } from '../scope.ts'
import { jsonwebtokenHook } from './jsonwebtoken.ts'
import { LoadedModule } from './loaded-module.ts'

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const tokenOf = (alg: string, sub: string): string =>
  `${encode({ alg })}.${encode({ sub })}.${'a'.repeat(43)}`

/** Subjects that are recorded of tokens which a library of this version accepts. */
function subjectsOf(tokens: readonly string[], version: string, options: object): unknown[] {
  const recorded: unknown[] = []
  const recorder = {
    prepareToken: (facts: TokenFacts, text?: string, isMac?: boolean, found?: unknown) =>
      ({ facts, text, isMac, found }) as unknown as PreparedToken,
    verified: (token: PreparedToken) =>
      recorded.push((token as unknown as { facts: TokenFacts }).facts.authorization?.subject),
  } as unknown as Recorder
  const library = { verify: (_token: string, _key: unknown, _options: object) => ({}) }
  jsonwebtokenHook.patch(new LoadedModule(library, 'require', version, '', createLog('silent')), recorder)
  for (const token of tokens) library.verify(token, 'key', options)
  return recorded
}

/** What an attacker with a key of his own would have to find: a signature that is another token's MAC. */
const ALIKE = [tokenOf('HS256', 'alice'), tokenOf('RS256', 'mallory'), tokenOf('HS256', 'alice')]

const unreadable = {
  get algorithms() {
    throw new Error('not to be read')
  },
}

test.each([
  ['a version that does not look at keys', '8.5.1', {}],
  ['one that is told not to', '9.0.3', { allowInvalidAsymmetricKeyTypes: true }],
  ['options that cannot be read', '9.0.3', unreadable],
])('with %s a token is not known by its end', (_, version, options) => {
  expect(subjectsOf(ALIKE, version, options)).toEqual(['alice', 'mallory', 'alice'])
})

test('with others it is: no key is right for two such tokens', () => {
  expect(subjectsOf(ALIKE, '9.0.3', {})).toEqual(['alice', 'alice', 'alice'])
})
