import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MalformedError } from '../errors.ts'
import { JsonReader } from './json-reader.ts'

/** What JSON.parse would give, built through the reader; the last of repeated keys counts. */
function build(reader: JsonReader): unknown {
  switch (reader.peek()) {
    case 'object': {
      const out = Object.create(null) as Record<string, unknown>
      reader.members((key) => {
        out[key] = build(reader)
      })
      return out
    }
    case 'array': {
      const out: unknown[] = []
      reader.items((index) => {
        expect(index).toBe(out.length)
        out.push(build(reader))
      })
      return out
    }
    case 'string':
      return reader.string()
    case 'boolean':
      return reader.boolean()
    case 'null':
      reader.null()
      return null
    case 'number':
      return Number(reader.number())
  }
}

function parse(text: string): unknown {
  const reader = new JsonReader(text)
  const value = build(reader)
  reader.end()
  return value
}

function skips(text: string): boolean {
  const reader = new JsonReader(text)
  try {
    reader.skip()
    reader.end()
    return true
  } catch (error) {
    if (error instanceof MalformedError) return false
    throw error
  }
}

function judge(text: string): void {
  let expected: unknown
  try {
    expected = JSON.parse(text)
  } catch {
    expect(() => parse(text), text).toThrow(MalformedError)
    expect(skips(text), text).toBe(false)
    return
  }
  expect(JSON.stringify(parse(text)), text).toBe(JSON.stringify(expected))
  expect(skips(text), text).toBe(true)
}

test('reads what JSON.parse reads', () => {
  fc.assert(
    fc.property(fc.json({ stringUnit: 'binary' }), (text) => {
      fc.pre(!text.includes('"__proto__"'))
      judge(text)
      judge(JSON.stringify(JSON.parse(text), null, ' \t'))
    }),
  )
})

test('refuses what JSON.parse refuses, at every change of one character', () => {
  const sample =
    '{"a":[1,-2.5e+3,true,false,null,"x\\u00e9\\n\\ud83d\\ude00é"],"b":{"":{}},"c":[],"d":0.1E-2}'
  judge(sample)
  for (let at = 0; at <= sample.length; at++) {
    judge(sample.slice(0, at))
    for (const character of [
      '',
      '"',
      '\\',
      ',',
      ':',
      '{',
      '}',
      '[',
      ']',
      '0',
      '.',
      '-',
      'e',
      'n',
      ' ',
      '\n',
      '\0',
      '\x1f',
      '\u2028',
    ]) {
      judge(sample.slice(0, at) + character + sample.slice(at))
      judge(sample.slice(0, at) + character + sample.slice(at + 1))
    }
  }
})

test('numbers keep their text', () => {
  expect(new JsonReader(' 1764000000000000123 ').number()).toBe('1764000000000000123')
  for (const text of ['01', '+1', '.5', '1.', '1e', '--1', 'NaN', 'Infinity', '0x10', '1_0', '', ' '])
    judge(text)
})

test('the path says where the reader is', () => {
  const reader = new JsonReader('{"a":[0,{"b":1}]}')
  const seen: string[] = []
  reader.members(() =>
    reader.items(() => {
      seen.push(reader.path)
      if (reader.peek() === 'number') reader.number()
      else
        reader.members(() => {
          seen.push(reader.path)
          reader.number()
        })
    }),
  )
  expect(seen).toEqual(['a[0]', 'a[1]', 'a[1].b'])
  expect(reader.path).toBe('')
})

test('a syntax error says what, at which character and where', () => {
  const reader = new JsonReader('{"a":[1 2]}')
  expect(() => reader.skip()).toThrow(/^not JSON: "," or a closing bracket is expected at 8 \(a\)$/)
  const long = new JsonReader(`{"${'k'.repeat(1000)}":x}`)
  expect(() => long.skip()).toThrow(/k\.\.\.\)$/)
})

test('200 levels, and not one more', () => {
  expect(skips('['.repeat(200) + ']'.repeat(200))).toBe(true)
  expect(() => new JsonReader('['.repeat(201)).skip()).toThrow(/^JSON is nested too deeply$/)
})
