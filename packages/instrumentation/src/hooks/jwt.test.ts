import { expect, test } from 'vitest'
import { type Claims, jwtArtifact } from './jwt.ts'

const artifactOf = (claims: Claims) => jwtArtifact('a.b.c', { alg: 'HS256' }, claims)

/** A chain of actors as RFC 8693 nests them, the current one first. */
const chain = (names: readonly (string | undefined)[], end?: unknown): unknown =>
  names.reduceRight<unknown>((act, sub) => ({ sub, ...(act !== undefined && { act }) }), end)

test.each<[string, unknown, number | undefined, number | undefined]>([
  ['none', undefined, undefined, undefined],
  ['one', chain(['a']), 1, 1],
  ['three', chain(['a', 'b', 'c']), 3, 3],
  ['more than are named', chain(Array.from({ length: 40 }, (_, at) => `a${at}`)), 16, 40],
  ['one without a name among them', chain(['a', undefined, 'c']), 1, 3],
  ['none with a name', chain([undefined]), undefined, 1],
  ['one that ends in no actor', chain(['a'], 'b'), 1, undefined],
  ['no end that is looked for', chain(Array.from({ length: 2000 }, () => 'a')), 16, undefined],
])('actors, %s: those who are named, and the depth where it is known', (_, act, named, depth) => {
  const { actorChain, delegationDepth } = artifactOf({ act })
  expect(actorChain?.length).toBe(named)
  expect(delegationDepth).toBe(depth)
})

test.each<[Claims, readonly string[] | undefined]>([
  [{}, undefined],
  [{ scope: 'a b  a' }, ['a', 'b']],
  [{ scope: 'openid', permissions: ['orders:read', 'openid'] }, ['openid', 'orders:read']],
  [{ scp: ['a'], permissions: ['b', 7] }, ['a', 'b']],
  [{ scp: 'a b' }, ['a', 'b']],
  [{ scope: '' }, []],
  [{ scope: 7 }, undefined],
])('the scope of %j', (claims, scope) => expect(artifactOf(claims).scope).toEqual(scope))
