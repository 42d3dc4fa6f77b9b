import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { utf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import { formatVerifierKey } from '@rootspan/lineage/tlog/key'
import { describe, expect, test } from 'vitest'
import { nodeFiles } from './files.ts'
import { OperatorError } from './operator-error.ts'
import {
  checkConfiguredOrigin,
  findOriginProblem,
  formatLogFile,
  type Identity,
  LOG_FILE,
  parseLogFile,
  readLogFile,
  writeLogFile,
} from './origin.ts'
import { createSigningKey } from './signing-key.ts'

const ORIGIN = 'logs.example.com/a/v0'

function identityOf(origin: string, seed = 7): Identity {
  const { verifier } = createSigningKey(origin, new Uint8Array(32).fill(seed))
  return { origin, key: formatVerifierKey(verifier), created: '2026-11-22T21:42:00.123Z' }
}

const identity = identityOf(ORIGIN)

test('the text is fixed', () => {
  expect(Buffer.from(formatLogFile(identity)).toString()).toMatchInlineSnapshot(`
    "{
      "format": "rootspan/log/v0",
      "origin": "logs.example.com/a/v0",
      "key": "logs.example.com/a/v0+57f49dbb+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs",
      "created": "2026-11-22T21:42:00.123Z",
      "sha256": "be7108406bb6de9a59bfc516ef5e63bdcf8f29baca85b60e83853a683f7e9477"
    }
    "
  `)
})

test('parses back what it formats, and no text with another byte', () => {
  const bytes = formatLogFile(identity)
  expect(parseLogFile(bytes)).toEqual(identity)
  for (let at = 0; at < bytes.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const flipped = bytes.slice()
      flipped[at]! ^= 1 << bit
      expect(() => parseLogFile(flipped), `byte ${at}, bit ${bit}`).toThrow(MalformedError)
    }
    expect(() => parseLogFile(bytes.subarray(0, at))).toThrow(MalformedError)
  }
})

describe('refuses a text whose digest is right but which is no log.json of ours', () => {
  test.each<[string, Identity]>([
    ['a key of another origin', { ...identity, key: identityOf('logs.example.com/b/v0').key }],
    ['an origin without a version', identityOf('logs.example.com/a')],
    ['no time', { ...identity, created: 'yesterday' }],
    ['a time in another form', { ...identity, created: '2026-11-22T21:42:00Z' }],
  ])('%s', (_, wrong) => {
    expect(() => parseLogFile(formatLogFile(wrong))).toThrow(MalformedError)
  })

  test.each([
    ['an array', '[]\n'],
    ['null', 'null\n'],
    ['a number', '1\n'],
    ['another format', '{"format": "rootspan/log/v1"}\n'],
    ['nothing else', '{"format": "rootspan/log/v0"}\n'],
  ])('%s', (_, text) => {
    expect(() => parseLogFile(utf8(text))).toThrow(MalformedError)
  })

  test('the same members in one line, or one more', () => {
    const text = Buffer.from(formatLogFile(identity)).toString()
    expect(() => parseLogFile(utf8(JSON.stringify(JSON.parse(text))))).toThrow(MalformedError)
    expect(() => parseLogFile(utf8(`${text}\n`))).toThrow(MalformedError)
    expect(() => parseLogFile(utf8(text.replace('{', '{\n  "more": 1,')))).toThrow(MalformedError)
    expect(() => parseLogFile(utf8(text.replace('{', `{\n  "format": "x",`)))).toThrow(MalformedError)
  })
})

test('is read from and written to a directory', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'rootspan-origin-'))
  expect(await readLogFile(nodeFiles, directory)).toBeUndefined()
  await writeLogFile(nodeFiles, directory, identity)
  expect(await readLogFile(nodeFiles, directory)).toEqual(identity)

  const path = join(directory, LOG_FILE)
  await writeFile(path, (await readFile(path, 'utf8')).replace('example', 'exbmple'))
  const error = await readLogFile(nodeFiles, directory).catch((error: unknown) => error)
  expect(error).toBeInstanceOf(OperatorError)
  expect((error as OperatorError).message).toContain(path)
})

test('the configuration must name the same origin or none', () => {
  expect(() => checkConfiguredOrigin(identity, undefined)).not.toThrow()
  expect(() => checkConfiguredOrigin(identity, ORIGIN)).not.toThrow()
  expect(() => checkConfiguredOrigin(identity, `${ORIGIN}x/v0`)).toThrow(OperatorError)
})

test.each([ORIGIN, 'a/v0', 'rootspan.local/host-0a1b2c3d/v0', `${'a'.repeat(252)}/v0`])(
  '%s is an origin',
  (origin) => {
    expect(findOriginProblem(origin)).toBeUndefined()
  },
)

test.each([
  '',
  'v0',
  '/v0',
  'a/v1',
  'a/v0/',
  'a/xv0',
  'https://a/v0',
  'a b/v0',
  'a+b/v0',
  'a\n/v0',
  'a\u00a0b/v0',
  '\ud800/v0',
  `${'a'.repeat(253)}/v0`,
  `${'é'.repeat(127)}/v0`,
])('%j is no origin', (origin) => {
  expect(findOriginProblem(origin)).toBeTypeOf('string')
})
