import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { readConfig } from './config.ts'
import { otherAgents } from './loader.ts'
import { NAME, VERSION } from './version.ts'

test('without anything set, the defaults, and nothing to complain of', () => {
  expect(readConfig({})).toEqual({
    fingerprintKey: undefined,
    identities: 'fingerprint',
    content: 'commit',
    disabledHooks: new Set(),
    selfTest: true,
    opaProvenance: false,
    logLevel: 'info',
    endpoint: undefined,
    spool: undefined,
    heartbeatMillis: 60_000,
    gateMillis: 2000,
    problems: [],
  })
})

test('a value that cannot be used is named, and the default taken', () => {
  const { identities, selfTest, problems } = readConfig({
    ROOTSPAN_IDENTITIES: 'plain',
    ROOTSPAN_SELF_TEST: 'maybe',
  })
  expect({ identities, selfTest }).toEqual({ identities: 'fingerprint', selfTest: true })
  expect(problems).toEqual([
    'ROOTSPAN_IDENTITIES must be one of fingerprint, clear; fingerprint is used',
    'ROOTSPAN_SELF_TEST must be one of on, off; on is used',
  ])
})

test.each([
  ['short', { ROOTSPAN_FINGERPRINT_KEY: 'short-secret' }],
  ['missing', { ROOTSPAN_FINGERPRINT_KEY_FILE: '/nowhere/secret' }],
])('a key that is %s is refused without being quoted', (_, env) => {
  const { fingerprintKey, problems } = readConfig(env)
  expect(fingerprintKey).toBeUndefined()
  expect(problems).toHaveLength(1)
  expect(problems[0]).not.toContain('secret')
})

test('keys and lists are read', () => {
  const env = { ROOTSPAN_FINGERPRINT_KEY: 'sixteen bytes or more', ROOTSPAN_DISABLED_HOOKS: 'jose, casbin,' }
  const { fingerprintKey, disabledHooks } = readConfig(env)
  expect(Buffer.from(fingerprintKey!).toString()).toBe('sixteen bytes or more')
  expect(disabledHooks).toEqual(new Set(['jose', 'casbin']))
})

test.each([
  ['1048576', 2 ** 20, 0],
  ['34359738368', 2 ** 35, 0],
  ['1099511627776', 2 ** 40, 0],
  ['1048575', 2 ** 31, 1],
  ['1099511627777', 2 ** 31, 1],
  ['', 2 ** 31, 0],
])('a spool of %s bytes', (text, maxBytes, problems) => {
  const config = readConfig({ ROOTSPAN_SPOOL: '/spool', ROOTSPAN_SPOOL_MAX_BYTES: text })
  expect(config.spool).toEqual({ directory: '/spool', maxBytes })
  expect(config.problems).toHaveLength(problems)
})

test('other agents are found in the command and in NODE_OPTIONS', () => {
  expect(otherAgents(['--import', '@rootspan/instrumentation/register'], undefined)).toEqual([])
  expect(otherAgents(['--import', 'dd-trace/register.js'], '--require newrelic')).toEqual([
    'dd-trace',
    'newrelic',
  ])
})

test('name and version are those of package.json', () => {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  expect({ name: NAME, version: VERSION }).toEqual({ name: manifest.name, version: manifest.version })
})
