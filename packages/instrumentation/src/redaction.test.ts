import { describe, expect, test } from 'vitest'
import { redactQuery, redactUrls } from './redaction.ts'

test.each([
  ['access_token=abc&page=2', 'access_token=REDACTED&page=2'],
  ['page=2&Access_Token=abc', 'page=2&Access_Token=REDACTED'],
  ['access%5Ftoken=abc', 'access%5Ftoken=REDACTED'],
  ['?code=abc&state=xyz', '?code=REDACTED&state=REDACTED'],
  ['code=a=b==&x=1', 'code=REDACTED&x=1'],
  ['token=&page=2', 'token=&page=2'],
  ['page=2', 'page=2'],
  ['accessToken=abc&reset-token=x', 'accessToken=REDACTED&reset-token=REDACTED'],
  ['t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln', 't=REDACTED'],
  ['t=eyJhbGciOiJIUzI1NiJ9', 't=eyJhbGciOiJIUzI1NiJ9'],
  ['%E0%A4%A=1&secret=2', '%E0%A4%A=1&secret=REDACTED'],
  ['', ''],
])('the query %s', (query, expected) => {
  expect(redactQuery(query, true)).toBe(expected)
})

test.each([
  ['https://a.example/b?sig=abc&x=1#code=2', 'https://a.example/b?sig=REDACTED&x=1#code=2'],
  ['/callback?code=abc', '/callback?code=REDACTED'],
  ['/path/token=abc', '/path/token=abc'],
  ['http://opa/v1/data/a/allow?pretty&input=%7B%7D', 'http://opa/v1/data/a/allow?pretty&input=REDACTED'],
  ['/v1/data?input=1', '/v1/data?input=REDACTED'],
  ['/v1/database?input=1', '/v1/database?input=1'],
  ['/search?input=1', '/search?input=1'],
  ['https://a.example/?x=?token=1', 'https://a.example/?x=?token=1'],
])('the URL %s', (url, expected) => {
  expect(redactQuery(url, false)).toBe(expected)
})

describe('a span', () => {
  test('of any convention loses what is secret, and keeps the rest untouched', () => {
    const attributes: Record<string, string | number> = {
      'url.query': 'access_token=a',
      'url.full': 'http://a/?access_token=a',
      'http.url': 'http://a/?id_token=a',
      'http.target': '/?code=a',
      'url.path': '/b',
      'http.request.size': 5,
    }
    const set: string[] = []
    const setAttribute = (name: string, value: string) => {
      set.push(name)
      attributes[name] = value
    }
    redactUrls({ attributes, setAttribute })
    expect(attributes).toEqual({
      'url.query': 'access_token=REDACTED',
      'url.full': 'http://a/?access_token=REDACTED',
      'http.url': 'http://a/?id_token=REDACTED',
      'http.target': '/?code=REDACTED',
      'url.path': '/b',
      'http.request.size': 5,
    })
    redactUrls({ attributes, setAttribute })
    expect(set).toHaveLength(4)
  })
})
