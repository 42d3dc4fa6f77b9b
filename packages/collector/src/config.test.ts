// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the configuration's own form
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  ConfigError,
  type ConfigFlags,
  configJsonSchema,
  formatConfig,
  listSettings,
  loadConfig,
  parseConfig,
} from './config.ts'

type Env = Record<string, string | undefined>

const parse = (text: string, env: Env = {}, flags: ConfigFlags = {}) =>
  parseConfig(text, 'f.yaml', { env, flags })

function problemsOf(text: string, env: Env = {}, flags: ConfigFlags = {}): readonly string[] {
  try {
    parse(text, env, flags)
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError)
    expect((error as ConfigError).exitCode).toBe(2)
    return (error as ConfigError).problems
  }
  throw new Error(`was accepted: ${text}`)
}

describe('defaults', () => {
  test.each(['', '# nothing\n', '---\n', '{}', 'api:\n', 'api:\n  endpoint:\nreceivers:\n  grpc:\n'])(
    '%j gives them',
    (text) => {
      expect(parse(text)).toEqual(parse(''))
    },
  )

  test('are in bytes and milliseconds, and taken apart', () => {
    const { receivers, journal, assembler, log } = parse('')
    expect(receivers.grpc).toEqual({
      enabled: true,
      endpoint: { host: '127.0.0.1', port: 4317 },
      allowRemote: false,
      maxRequestBytes: 64 * 1024 * 1024,
    })
    expect(journal.maxBytes).toBe(16 * 1024 ** 3)
    expect(assembler).toMatchObject({ quietPeriod: 5000, maxAge: 60_000 })
    expect(log).toEqual({ checkpointInterval: 1000 })
  })
})

test('every setting can be set, is told apart from every other, and is described', () => {
  const paths = listSettings().map(({ path }) => path)
  expect(new Set(paths).size).toBe(paths.length)
  for (const { path, description, default: value } of listSettings()) {
    expect(description, path).toMatch(/^[A-Z].*[.]$/)
    const text = path
      .split('.')
      .map((key, depth) => `${'  '.repeat(depth)}${key}:`)
      .join('\n')
    if (value !== undefined) expect(parse(`${text} ${JSON.stringify(value)}`), path).toEqual(parse(''))
    if (path !== 'log.origin') expect(problemsOf(`${text} {}`)[0], path).toContain(`${path}: expected`)
  }
})

test('the effective configuration gives itself', () => {
  const config = parse(
    'log: {origin: a/v0, checkpoint_interval: 250ms}\nreceivers: {http: {enabled: false, endpoint: "[::1]:0", max_request_bytes: 1KiB}}\njournal: {min_free_bytes: 0B, segment_bytes: 67108865KiB}'.replace(
      ', segment_bytes: 67108865KiB',
      ', segment_bytes: 131073KiB',
    ),
  )
  expect(config.receivers.http.endpoint).toEqual({ host: '::1', port: 0 })
  expect(config.journal).toMatchObject({ minFreeBytes: 0, segmentBytes: 131_073 * 1024 })
  expect(parse(formatConfig(config))).toEqual(config)
  expect(parse(formatConfig(parse('')))).toEqual(parse(''))
})

describe('unknown settings', () => {
  test.each([
    [
      'receivers:\n  grcp:\n    enabled: true',
      'f.yaml:2:3: receivers.grcp: unknown, did you mean receivers.grpc?',
    ],
    ['storge: {}', 'f.yaml:1:1: storge: unknown, did you mean storage?'],
    [
      'assembler:\n  quietPeriod: 5s',
      'f.yaml:2:3: assembler.quietPeriod: unknown, did you mean assembler.quiet_period?',
    ],
    ['assembler:\n  max-age: 5s', 'f.yaml:2:3: assembler.max-age: unknown, did you mean assembler.max_age?'],
    ['quiet_period: 5s', 'f.yaml:1:1: quiet_period: unknown here, did you mean assembler.quiet_period?'],
    [
      'retention:\n  classes:\n    - {name: a, days: 1}\n    - name: b\n      days: 2\n      srevices: [x]',
      'f.yaml:6:7: retention.classes.1.srevices: unknown, did you mean retention.classes.1.services?',
    ],
    [
      'retention: {classes: [{name: a, days: 1, byAttribute: true}]}',
      'f.yaml:1:42: retention.classes.0.byAttribute: unknown, did you mean retention.classes.0.by_attribute?',
    ],
    [
      'retention: {classes: [{name: a, days: 1, quota: 1}]}',
      'f.yaml:1:42: retention.classes.0.quota: unknown; known here: name, days, services, tenants, by_attribute',
    ],
    [
      'receivers:\n  grpc: {port: 1}',
      'f.yaml:2:10: receivers.grpc.port: unknown; known here: enabled, endpoint, allow_remote, max_request_bytes',
    ],
  ])('%j', (text, problem) => {
    expect(problemsOf(text)).toEqual([problem])
  })

  test('are all reported, with other problems', () => {
    expect(problemsOf('a: 1\nb: 2\nlogs: {level: loud, more: 1}')).toHaveLength(4)
  })
})

describe('retention classes', () => {
  test('have defaults, and come back from the text that is printed', () => {
    const config = parse('retention: {classes: [{name: a, days: 7, by_attribute: true}]}')
    expect(config.retention.classes).toEqual([
      { name: 'a', days: 7, services: [], tenants: [], by_attribute: true },
    ])
    expect(parse(formatConfig(config))).toEqual(config)
  })

  test.each([
    ['a', 'f.yaml:1:22: retention.classes: expected a list of classes'],
    ['[a]', 'f.yaml:1:23: retention.classes.0: expected a table of settings'],
    [
      '[{days: 1}]',
      'f.yaml:1:23: retention.classes.0.name: expected up to 32 lower-case letters and digits, a letter first',
    ],
    [
      '[{name: a, days: 0}]',
      'f.yaml:1:39: retention.classes.0.days: expected a whole number from 1 to 36500',
    ],
    ['[{name: default, days: 1}]', 'f.yaml:1:30: retention.classes.0.name: is a name that is taken'],
    [
      '[{name: a, days: 1, services: x}]',
      'f.yaml:1:52: retention.classes.0.services: expected a list of names',
    ],
    ['[{name: a, days: 1, tenants: [1]}]', 'f.yaml:1:52: retention.classes.0.tenants.0: expected a name'],
  ])('%s', (classes, problem) => {
    expect(problemsOf(`retention: {classes: ${classes}}`)).toEqual([problem])
  })
})

describe('endpoints', () => {
  test.each(['127.0.0.1:1', '127.255.0.9:65535', '[::1]:4317', 'localhost:0', 'LOCALHOST:80'])(
    '%s stays on this machine',
    (endpoint) => {
      expect(() => parse(`api: {endpoint: "${endpoint}"}`)).not.toThrow()
    },
  )

  test.each([
    '0.0.0.0:1',
    '[::]:1',
    '10.0.0.1:1',
    'example.com:1',
    'localhost.example.com:1',
    '[::ffff:10.0.0.1]:1',
    '128.0.0.1:1',
  ])('%s needs allow_remote beside it', (endpoint) => {
    const listener = (more: string) => `{endpoint: "${endpoint}"${more}}`
    for (const path of ['receivers.grpc', 'receivers.http', 'api']) {
      const [table, name] = path.split('.')
      const text = (more: string) =>
        name === undefined ? `${table}: ${listener(more)}` : `${table}: {${name}: ${listener(more)}}`
      const problems = problemsOf(text(''))
      expect(problems).toHaveLength(1)
      expect(problems[0]).toContain(`${path}.endpoint: other machines could reach ${endpoint}`)
      expect(problems[0]).toContain(`${path}.allow_remote: true`)
      expect(() => parse(text(', allow_remote: true'))).not.toThrow()
      expect(() => parse(text(', enabled: false'))).not.toThrow()
    }
  })

  test('allow_remote of one is not that of another', () => {
    const text = 'receivers: {grpc: {allow_remote: true}, http: {endpoint: "0.0.0.0:1"}}'
    expect(problemsOf(text)[0]).toContain('receivers.http.endpoint')
  })

  test.each([
    '4317',
    '"4317"',
    '":4317"',
    '"http://a:1"',
    '"a:65536"',
    '"a:01"',
    '"a: 1"',
    '"::1:4317"',
    '"[127.0.0.1]:1"',
    '"[::1]"',
    '"a:-1"',
    '"a b:1"',
    '""',
    '"127.0.0.1"',
  ])('%s is none', (endpoint) => {
    expect(problemsOf(`api: {endpoint: ${endpoint}}`)[0]).toMatch(/^f.yaml:1:17: api.endpoint: expected/)
  })

  test('two that listen are not one, unless the system chooses', () => {
    expect(problemsOf('api: {endpoint: "127.0.0.1:4317"}')[0]).toContain(
      'is the endpoint of receivers.grpc already',
    )
    expect(() =>
      parse('receivers: {grpc: {enabled: false}}\napi: {endpoint: "127.0.0.1:4317"}'),
    ).not.toThrow()
    const any = '{endpoint: "127.0.0.1:0"}'
    expect(() => parse(`receivers: {grpc: ${any}, http: ${any}}\napi: ${any}`)).not.toThrow()
  })
})

describe('durations and sizes', () => {
  test.each([
    ['1ms', 1],
    ['250ms', 250],
    ['5s', 5000],
    ['1m', 60_000],
  ])('%s', (text, millis) => {
    expect(parse(`assembler: {quiet_period: ${text}}`).assembler.quietPeriod).toBe(millis)
  })

  test.each(['5', '5 s', '-5s', '5S', '05s', '1.5s', '1m30s', 's', '', '5s ', '0s', '2h', '99999999999s'])(
    '%j is no duration here',
    (text) => {
      expect(problemsOf(`assembler: {quiet_period: "${text}", max_age: 24h}`)).toHaveLength(1)
    },
  )

  test.each([
    '64',
    '64MB',
    '64mib',
    '64 MiB',
    '-1MiB',
    '1.5GiB',
    'MiB',
    '1KiB',
    '65TiB',
    '9999999999999999TiB',
  ])('%j is no size here', (text) => {
    expect(problemsOf(`journal: {max_bytes: "${text}"}`)).toHaveLength(1)
  })
})

describe('settings that must fit together', () => {
  test.each([
    ['assembler: {quiet_period: 2m}', 'assembler.quiet_period: is over assembler.max_age'],
    ['assembler: {max_open_spans: 100}', 'assembler.max_segment_spans: is over assembler.max_open_spans'],
    ['journal: {max_bytes: 200MiB}', 'journal.max_bytes: is below two segments, which are 256MiB'],
    [
      'journal: {segment_bytes: 64MiB}',
      'receivers.grpc.max_request_bytes: is not at least 128 KiB below journal.segment_bytes',
    ],
    [
      'receivers: {in_flight_bytes: 32MiB}',
      'receivers.grpc.max_request_bytes: is over receivers.in_flight_bytes',
    ],
    ['signer: {directory: ./rootspan-data/signer}', 'signer.directory: lies in storage.directory'],
    ['signer: {directory: rootspan-data}', 'signer.directory: lies in storage.directory'],
    [
      'storage: {directory: ./rootspan-signer/../rootspan-signer/x}',
      'storage.directory: lies in signer.directory',
    ],
  ])('%s', (text, problem) => {
    expect(problemsOf(text)[0]).toContain(problem)
  })

  test('directories beside each other fit', () => {
    expect(() => parse('storage: {directory: /a/b}\nsigner: {directory: /a/bc}')).not.toThrow()
    expect(() => parse('storage: {directory: /a/b}\nsigner: {directory: "/a/..b"}')).not.toThrow()
  })
})

describe('the environment', () => {
  const level = (text: string, env: Env = {}) => parse(`logs: {level: "${text}"}`, env).logs.level

  test('fills scalars', () => {
    expect(level('${env:LEVEL}', { LEVEL: 'debug' })).toBe('debug')
    expect(level('${env:LEVEL:-warn}', { LEVEL: 'debug' })).toBe('debug')
    expect(level('${env:LEVEL:-warn}')).toBe('warn')
    expect(level('${env:LEVEL:-warn}', { LEVEL: '' })).toBe('warn')
    expect(level('${env:A}${env:B:-fo}', { A: 'in' })).toBe('info')
  })

  test('gives plain scalars their type, and quoted ones none', () => {
    const text = 'api:\n  enabled: ${env:E:-false}\nassembler:\n  max_segment_spans: ${env:N}\n'
    expect(parse(text, { N: '5' })).toMatchObject({
      api: { enabled: false },
      assembler: { maxSegmentSpans: 5 },
    })
    expect(parse('api:\n  enabled: ${env:NONE:-}').api.enabled).toBe(true)
    expect(problemsOf('api:\n  enabled: "${env:E:-false}"')).toEqual([
      'f.yaml:2:12: api.enabled: expected true or false',
    ])
  })

  test('gives no structure', () => {
    const { directory } = parse('storage:\n  directory: ${env:D}', {
      D: 'a\nlogs: {level: debug} # x',
    }).storage
    expect(directory).toBe('a\nlogs: {level: debug} # x')
    expect(parse('storage:\n  directory: ${env:D}', { D: '${env:SECRET}' }).storage.directory).toBe(
      '${env:SECRET}',
    )
  })

  test('a dollar sign can be written', () => {
    expect(parse('storage: {directory: "$${env:X} $x"}').storage.directory).toBe('${env:X} $x')
  })

  test.each([
    ['${env:NONE}', 'the environment has no NONE'],
    ['${NONE}', 'expected ${env:NAME}'],
    ['${env:1X}', 'expected ${env:NAME}'],
    ['${env:X', 'expected ${env:NAME}'],
    ['${file:x}', 'expected ${env:NAME}'],
  ])('%s is refused', (text, problem) => {
    const problems = problemsOf(`logs:\n  level: "${text}"`)
    expect(problems).toHaveLength(1)
    expect(problems[0]).toContain(`f.yaml:2:10: ${problem}`)
  })

  test('what it holds is not in messages', () => {
    expect(problemsOf('logs: {level: "${env:S}"}', { S: 'hush' }).join()).not.toContain('hush')
  })
})

describe('flags', () => {
  test('win over the file', () => {
    const flags = {
      data: 'd',
      signer: 's',
      grpc: '127.0.0.1:1',
      http: '127.0.0.1:2',
      api: '127.0.0.1:3',
      quietPeriod: '1s',
      logLevel: 'warn',
    }
    expect(parse('logs: {level: error}\napi: {endpoint: "127.0.0.1:9"}', {}, flags)).toMatchObject({
      storage: { directory: 'd' },
      signer: { directory: 's' },
      receivers: { grpc: { endpoint: { port: 1 } }, http: { endpoint: { port: 2 } } },
      api: { endpoint: { port: 3 } },
      assembler: { quietPeriod: 1000 },
      logs: { level: 'warn' },
    })
  })

  test('are named when they are wrong', () => {
    expect(problemsOf('', {}, { quietPeriod: '5' })[0]).toMatch(/^--quiet-period: expected a duration/)
    expect(problemsOf('', {}, { grpc: '0.0.0.0:1' })[0]).toMatch(/^--grpc: other machines could reach/)
  })
})

test.each([
  ['a: [1', 1],
  ['a: 1\na: 2', 2],
  ['api: !x 5', 1],
  ['- 1', 1],
  ['x', 1],
  ['api: 5', 1],
  ['a: *b', 1],
  ['\tx: 1', 1],
  ['a: 1\n---\nb: 2', 2],
])('%j is refused with its line', (text, line) => {
  expect(problemsOf(text)[0]).toMatch(new RegExp(`^f\\.yaml:${line}:\\d+: `))
})

test('a file is read, or the reason said', () => {
  const file = join(mkdtempSync(join(tmpdir(), 'rootspan-config-')), 'c.yaml')
  expect(() => loadConfig({ file, env: {} })).toThrow(ConfigError)
  writeFileSync(file, 'logs: {level: warn}')
  expect(loadConfig({ file, env: {} }).logs.level).toBe('warn')
  writeFileSync(file, Uint8Array.of(0x61, 0x3a, 0xff))
  expect(() => loadConfig({ file, env: {} })).toThrow(ConfigError)
})

test('the JSON Schema is that of the file', () => {
  const { type, additionalProperties, properties } = configJsonSchema() as {
    type: string
    additionalProperties: boolean
    properties: { assembler: object }
  }
  expect({ type, additionalProperties }).toEqual({ type: 'object', additionalProperties: false })
  expect(Object.keys(properties)).toEqual([...new Set(listSettings().map(({ path }) => path.split('.')[0]))])
  expect(properties.assembler).toMatchObject({
    additionalProperties: false,
    properties: {
      quiet_period: { type: 'string', default: '5s', pattern: expect.stringContaining('ms|s|m|h') },
    },
  })
})

const root = new URL('../../../', import.meta.url)

test('the example file is the defaults, and mentions every setting', () => {
  const text = readFileSync(new URL('deploy/rootspan.example.yaml', root), 'utf8')
  const example = parse(text)
  expect(example).toEqual(parse(''))
  const uncommented = text.replace(/^( *)# ([a-z_]+: )/gm, '$1$2')
  for (const { path } of listSettings())
    expect(uncommented, path).toMatch(new RegExp(`^\\s*${path.split('.').at(-1)}:`, 'm'))
})

test('the reference page lists every setting with its default and description', () => {
  const text = readFileSync(new URL('docs/operate/configuration.md', root), 'utf8')
  for (const { path, default: value, description } of listSettings())
    expect(text).toContain(`| \`${path}\` | ${value === undefined ? '' : `\`${value}\``} | ${description} |`)
})

describe('what others push', () => {
  const opa = (more: string) => `receivers: {opa: {enabled: true${more}}}`
  const ssf = (more: string) =>
    `receivers: {ssf: {enabled: true, token_file: t, issuer: i, audience: a${more}}}`

  test('is off by default, and needs credentials to compare with', () => {
    const { receivers } = parse('')
    expect([receivers.opa.enabled, receivers.ssf.enabled]).toEqual([false, false])
    expect(parse(opa(', token_file: t')).receivers.opa).toMatchObject({ path: '/opa/logs', peer: 'opa' })
    expect(parse(ssf(', jwks_file: k')).receivers.ssf).toMatchObject({ jwksFile: 'k' })
    expect(parse(ssf(', jwks_url: "https://idp.example/keys"')).receivers.ssf.jwksFile).toBeUndefined()
  })

  test.each([
    [opa(''), 'receivers.opa.token_file: is required: nothing is taken without a token'],
    [opa(', token_file: t, path: opa'), 'receivers.opa.path: expected a path such as /opa/logs'],
    [opa(', token_file: t, path: /v1/logs'), 'receivers.opa.path: /v1/logs is taken already'],
    [ssf(''), 'receivers.ssf.jwks_file: either this or receivers.ssf.jwks_url is required, and not both'],
    [
      ssf(', jwks_file: k, jwks_url: "https://idp.example/keys"'),
      'receivers.ssf.jwks_file: either this or receivers.ssf.jwks_url is required, and not both',
    ],
    [ssf(', jwks_url: "http://idp.example/keys"'), 'receivers.ssf.jwks_url: expected an https URL'],
    [
      'receivers: {ssf: {enabled: true, token_file: t, audience: a, jwks_file: k}}',
      'receivers.ssf.issuer: is required: tokens of anybody else are refused',
    ],
    [
      'receivers: {http: {enabled: false}, opa: {enabled: true, token_file: t}}',
      'receivers.opa.enabled: needs receivers.http, which is not enabled',
    ],
  ])('%s', (text, problem) => {
    expect(problemsOf(text)).toEqual([expect.stringContaining(problem)])
  })

  test('both at one path are refused', () => {
    const text =
      'receivers: {opa: {enabled: true, token_file: t, path: /x}, ssf: {enabled: true, token_file: t, issuer: i, audience: a, jwks_file: k, path: /x}}'
    expect(problemsOf(text)).toEqual([expect.stringContaining('receivers.ssf.path: /x is taken already')])
  })
})
