import { describe, expect, test } from 'vitest'
import { equalBytes, parseUtf8, utf8 } from '../bytes.ts'
import { MalformedError, VerificationError } from '../errors.ts'
import { BUNDLE_FORMAT, type Bundle, formatBundle, parseBundle } from './bundle.ts'

const hash = new Uint8Array(32).fill(7)
const bundle: Bundle = {
  checkpoint: 'example.com/log/v0\n1\nAA==\n\n\u2014 example.com/log/v0 AAAA\n',
  segments: [
    {
      first: 0,
      entries: [Uint8Array.of(1, 2, 3), Uint8Array.of()],
      proof: [hash],
      payload: Uint8Array.of(4),
    },
    { first: Number.MAX_SAFE_INTEGER, entries: [], proof: [], payload: Uint8Array.of() },
  ],
  erasures: [],
  context: [],
}

describe('a bundle', () => {
  test('is spelled as JSON.stringify spells it, with a newline', () => {
    const spelled = JSON.stringify({
      format: BUNDLE_FORMAT,
      checkpoint: bundle.checkpoint,
      segments: [
        {
          first: 0,
          entries: ['AQID', ''],
          proof: ['BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc='],
          payload: 'BA==',
        },
        { first: Number.MAX_SAFE_INTEGER, entries: [], proof: [], payload: '' },
      ],
    })
    expect(parseUtf8(formatBundle(bundle))).toBe(`${spelled}\n`)
  })

  test('comes back as it was', () => {
    expect(parseBundle(formatBundle(bundle))).toEqual(bundle)
    const empty = { checkpoint: '', segments: [], erasures: [], context: [] }
    expect(parseBundle(formatBundle(empty))).toEqual(empty)
  })

  test('has one spelling: whatever parses formats back to the same bytes', () => {
    const bytes = formatBundle(bundle)
    let parsed = 0
    for (let at = 0; at < bytes.length; at++)
      for (let value = 0; value < 256; value++) {
        const changed = bytes.slice()
        changed[at] = value
        try {
          expect(equalBytes(formatBundle(parseBundle(changed)), changed)).toBe(true)
          parsed++
        } catch (error) {
          if (!(error instanceof MalformedError || error instanceof VerificationError)) throw error
        }
      }
    expect(parsed).toBeGreaterThan(1000)
  })
})

const TEXT = parseUtf8(formatBundle(bundle))

describe('what is no bundle is malformed', () => {
  test.each([
    ['nothing', ''],
    ['no JSON', '{'],
    ['no object', 'null\n'],
    ['a list', '[]\n'],
    ['no newline at the end', TEXT.slice(0, -1)],
    ['two newlines', `${TEXT}\n`],
    ['a space', TEXT.replace(',"checkpoint"', ', "checkpoint"')],
    ['a byte order mark', `\ufeff${TEXT}`],
    ['another order of members', TEXT.replace(/"first":0,("entries":\[.*?\]),/, '$1,"first":0,')],
    ['a member twice', TEXT.replace('"first":0,', '"first":0,"first":0,')],
    ['a member too many', TEXT.replace('"first":0,', '"first":0,"last":0,')],
    ['a member of the prototype', TEXT.replace('"first":0,', '"first":0,"__proto__":0,')],
    ['a member too few', TEXT.replace('"proof":[],', '')],
    ['a first leaf that is no index', TEXT.replace('"first":0', '"first":-1')],
    ['a first leaf below zero', TEXT.replace('"first":0', '"first":-0')],
    ['a first leaf with a point', TEXT.replace('"first":0', '"first":0.5')],
    ['another spelling of a number', TEXT.replace('"first":0', '"first":0e1')],
    ['a first leaf past 2^53', TEXT.replace('9007199254740991', '9007199254740993')],
    ['a first leaf that is text', TEXT.replace('"first":0', '"first":"0"')],
    ['entries that are no list', TEXT.replace('["AQID",""]', '"AQID"')],
    ['an entry that is no text', TEXT.replace('"AQID"', '1')],
    ['base64 without padding', TEXT.replace('BA==', 'BA')],
    ['base64 with bits left over', TEXT.replace('BA==', 'BB==')],
    ['base64 of the other alphabet', TEXT.replace('AQID', 'AQ_-')],
    [
      'a hash of 31 bytes',
      TEXT.replace(
        'BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=',
        'BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw==',
      ),
    ],
    ['a checkpoint with a lone surrogate', TEXT.replace('/v0\\n1', '/v0\\ud800\\n1')],
    ['an escape where none is needed', TEXT.replace('example', '\\u0065xample')],
    ['another format', TEXT.replace('evidence', 'testimony')],
    ['no format', TEXT.replace(`"format":"${BUNDLE_FORMAT}",`, '')],
    ['deep nesting', `${'['.repeat(200_000)}${']'.repeat(200_000)}`],
  ])('%s', (_, text) => {
    expect(text).not.toBe(TEXT)
    expect(() => parseBundle(utf8(text))).toThrow(MalformedError)
  })

  test('bytes that are no UTF-8', () => {
    const bytes = formatBundle(bundle)
    bytes[bytes.indexOf(0xe2)] = 0xff
    expect(() => parseBundle(bytes)).toThrow('is not UTF-8')
  })
})

test('another version is not known, whatever its members are', () => {
  for (const text of ['{"format":"rootspan/evidence/v1"}', TEXT.replace('/v0', '/v12')])
    expect(() => parseBundle(utf8(text))).toThrow(
      expect.objectContaining({ name: 'VerificationError', code: 'unsupported' }),
    )
})
