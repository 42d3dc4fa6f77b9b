import { mkdtempSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RULES } from '@rootspan/lineage/continuity/ruleset'
import { tracesFromJson } from '@rootspan/lineage/otlp/json'
import { describe, expect, test } from 'vitest'
import { main } from './program.ts'

const VECTORS = join(import.meta.dirname, '../../../../test/vectors/continuity')
const directory = mkdtempSync(join(tmpdir(), 'rootspan-rules-'))

async function rules(...args: string[]) {
  const [out, err]: string[][] = [[], []]
  const code = await main(['rules', ...args], {
    stdout: { write: (text) => out!.push(text) },
    stderr: { write: (text) => err!.push(text) },
    env: {},
    onSignal: () => () => {},
    exit: (code) => {
      throw new Error(`exit ${code}`)
    },
  })
  return { code, out: out!.join(''), err: err!.join('') }
}

function file(name: string, content: string | Uint8Array): string {
  const path = join(directory, name)
  writeFileSync(path, content)
  return path
}

test('list names every rule with its severity, as JSON with all that is known', async () => {
  const { code, out } = await rules('list')
  expect(code).toBe(0)
  for (const { id, title, severity } of RULES)
    expect(out).toMatch(new RegExp(`^${id}  ${severity} +${title}$`, 'm'))
  const json = JSON.parse((await rules('list', '--json')).out)
  expect(json.ruleset).toMatch(/^[0-9a-f]{64}$/)
  expect(json.rules.map(({ id }: { id: string }) => id)).toEqual(RULES.map(({ id }) => id))
})

test('explain says all of one rule', async () => {
  const rule = RULES.find(({ id }) => id === 'GC-N01')!
  const { code, out } = await rules('explain', 'gc-n01')
  expect(code).toBe(0)
  for (const text of [rule.id, rule.title, rule.looksAt, rule.remedy, ...rule.guards])
    expect(out).toContain(text)
})

test.each([
  [['explain']],
  [['explain', 'GC-X99']],
  [['test']],
  [['list', 'more']],
  [['judge']],
  [['test', '/no/such']],
])('%j is wrong use', async (args) => {
  const { code, out, err } = await rules(...args)
  expect({ code, out }).toEqual({ code: 2, out: '' })
  expect(err).not.toBe('')
})

describe('test', () => {
  const vector = (name: string): Promise<string> => readFile(join(VECTORS, name), 'utf8')

  test('finds in a file of several requests what the collector would find', async () => {
    for (const name of [
      'GC-D02/violating',
      'GC-N01/violating',
      'GC-T03/violating',
      'GC-N03/clean',
      'GC-D11/violating',
    ]) {
      const expected = JSON.parse(await vector(`${name}.findings.json`))
      const { code, out } = await rules('test', join(VECTORS, `${name}.json`), '--json')
      const [execution] = JSON.parse(out)
      expect({ code, findings: execution.findings }).toEqual({
        code: expected.length === 0 ? 0 : 1,
        findings: expected,
      })
    }
  })

  test('reads JSON, JSON lines and protobuf alike', async () => {
    const [request] = JSON.parse(await vector('GC-D02/violating.json'))
    const json = JSON.stringify(request)
    const lines = `${json}\n${JSON.stringify({ resourceSpans: [] })}\n`
    const paths = [
      file('one.json', JSON.stringify(request, undefined, 2)),
      file('lines.jsonl', lines),
      file('one.pb', tracesFromJson(json)),
    ]
    for (const path of paths) {
      const { code, out } = await rules('test', path)
      expect(code).toBe(1)
      expect(out).toMatch(/ 3 spans {2}broken\n {2}GC-D02 {2}critical {2}span/)
    }
  })

  test('says what cannot be known, and when nothing is governed', async () => {
    const { code, out } = await rules('test', join(VECTORS, 'GC-N05/unknown.json'))
    expect(code).toBe(0)
    expect(out).toContain('GC-N05  unknown   the caller of service api, which sent no span')
    const span = { traceId: '1'.repeat(32), spanId: '2'.repeat(16), name: 'x', startTimeUnixNano: '1' }
    const plain = file('plain.json', JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }))
    expect((await rules('test', plain)).out).toContain('nothing in it says what governs it')
  })

  test.each([
    ['not OTLP', 'hello'],
    ['cut', '{"resourceSpans": ['],
    ['an array of no requests', '[1, 2]'],
    ['empty', ''],
  ])('a file that is %s is refused', async (_, content) => {
    const { code, out, err } = await rules('test', file('bad', content))
    expect({ code, out }).toEqual({ code: 2, out: '' })
    expect(err).not.toMatch(/^ +at /m)
  })
})
