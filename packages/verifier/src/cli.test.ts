import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { GOVERNED, TestLog, testKey } from '../../../test/support/executions.ts'
import { SHAPES } from '../../../test/support/shapes.ts'
import { runCommand } from './cli.ts'
import { nodeWorld } from './world.ts'

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url))

interface Result {
  code: number | null
  out: string
  err: string
}

let directory: string
const at = (name: string): string => join(directory, name)

/** Runs the command as its own process, in the directory of the files. */
function run(
  args: readonly string[],
  options: { input?: Uint8Array; env?: Record<string, string> } = {},
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const { NO_COLOR: _, FORCE_COLOR: __, COLUMNS: ___, ...env } = process.env
    const child = spawn(process.execPath, ['--conditions=source', MAIN, ...args], {
      cwd: directory,
      env: { ...env, ...options.env },
    })
    const result: Result = { code: null, out: '', err: '' }
    child.stdout.setEncoding('utf8').on('data', (text: string) => (result.out += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (result.err += text))
    child.on('error', reject)
    child.on('close', (code) => resolve({ ...result, code }))
    child.stdin.on('error', () => {}) // it may not read
    child.stdin.end(options.input ?? '')
  })
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rootspan-verify-'))
  const log = new TestLog()
  log.settle(1, [GOVERNED])
  SHAPES.get('remote, then adopted')!(log, 2)
  SHAPES.get('duplicate and equivocal')!(log, 3)
  log.settle(4, [[{ id: 1, name: 'evil \u001b[2J\u202e\nname', service: '\u0007bell', status: 2 }]])
  SHAPES.get('awaiting')!(log, 5)
  log.settle(6, [GOVERNED])
  log.erase(6, 'all')
  const good = await log.bundle(1)
  const files: Record<string, Uint8Array | string> = {
    'log.policy': log.policyText,
    'good.rootspan': good,
    'adopted.rootspan': await log.bundle(2),
    'equivocal.rootspan': await log.bundle(3),
    'evil.rootspan': await log.bundle(4),
    'erased.rootspan': await log.bundle(6),
    'awaiting.rootspan': await log.bundle(5),
    'bad.rootspan': Buffer.from(
      Buffer.from(good)
        .toString()
        .replace(/"payload":"(.{40})./, '"payload":"$1A'),
    ),
    'newer.rootspan': Buffer.from(Buffer.from(good).toString().replace('evidence/v0', 'evidence/v1')),
    'other.policy': new TestLog([testKey('example.com/other/v0')]).policyText,
    'broken.policy': 'log nothing\nquorum none\n',
    'empty.policy': 'quorum none\n',
    empty: '',
  }
  for (const [name, content] of Object.entries(files)) await writeFile(at(name), content)
})

afterAll(() => rm(directory, { recursive: true, force: true }))

const POLICY = ['--policy', 'log.policy'] as const

describe('verify', () => {
  test('says what holds, by what, and what was not checked', async () => {
    const { code, out, err } = await run(['verify', 'good.rootspan', ...POLICY])
    expect({ code, err }).toEqual({ code: 0, err: '' })
    for (const part of [
      'VERIFIED  good.rootspan',
      '00000000000000000000000000000001',
      'example.com/test/v0, ',
      'example.com/test/v0+145fc490',
      '8 in 1 segment, leaves 0 to 7: 1 authorization, 1 verification, 1 decision, 1 transition, 1 request, 1 action, 1 joined, 1 sealed',
      'checkout (1 span), gateway (1 span)',
      'integrity     verified up to size ',
      'continuity    unknown: ',
      'completeness  not provable: ',
      'assurance     local: ',
      'not checked\n  - ',
    ])
      expect(out).toContain(part)
    expect(out).not.toContain('\u001b')
  })

  test('as JSON', async () => {
    const { code, out } = await run(['verify', 'good.rootspan', ...POLICY, '--json'])
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({
      file: 'good.rootspan',
      result: 'verified',
      origin: 'example.com/test/v0',
      traceId: '00000000000000000000000000000001',
      spans: 2,
      services: [
        { name: 'checkout', spans: 1 },
        { name: 'gateway', spans: 1 },
      ],
      records: { total: 8, authorization: 1, request: 1, action: 1, sealed: 1 },
      segments: [{ segment: 0, firstLeaf: 0, leaves: 8, closed: 'settled' }],
      verdict: {
        integrity: { state: 'verified' },
        continuity: { state: 'unknown' },
        completeness: { state: 'not provable' },
        assurance: { state: 'local' },
      },
      notChecked: expect.any(Array),
    })
  })

  test.each([
    ['bad evidence', 'bad.rootspan', 'log.policy', 1, 'BAD  bad.rootspan'],
    ['an empty file', 'empty', 'log.policy', 1, 'bundle: the file is empty (malformed)'],
    ['something else', 'log.policy', 'log.policy', 1, '(malformed)'],
    ['another log', 'good.rootspan', 'other.policy', 1, 'checkpoint: no known key signed it (untrusted)'],
    ['a newer version', 'newer.rootspan', 'log.policy', 2, 'NOT CHECKED  newer.rootspan'],
    ['a missing file', 'missing.rootspan', 'log.policy', 2, 'cannot read it: there is no such file'],
    ['a directory', '.', 'log.policy', 2, 'cannot read it: it is a directory'],
    ['a missing policy', 'good.rootspan', 'missing.policy', 2, 'policy missing.policy: cannot read it'],
    ['a broken policy', 'good.rootspan', 'broken.policy', 2, 'policy broken.policy: policy line 1'],
    ['a policy without a log', 'good.rootspan', 'empty.policy', 2, 'it names no log'],
  ])('of %s', async (_, file, policy, code, message) => {
    const [plain, json] = await Promise.all([
      run(['verify', file, '--policy', policy]),
      run(['verify', file, '--policy', policy, '--json']),
    ])
    expect(plain).toMatchObject({ code, out: '' })
    expect(plain.err).toContain(message)
    expect(plain.err.trim().split('\n')).toHaveLength(3) // what, why, what next
    expect(json).toMatchObject({ code, err: '' })
    expect(JSON.parse(json.out)).toEqual({
      file,
      result: code === 1 ? 'bad' : 'not checked',
      code: expect.any(String),
      where: expect.any(String),
      reason: expect.any(String),
      next: expect.any(String),
    })
  })

  test('of several files: the worst counts, and bad is worse than not checked', async () => {
    const several = await run(['verify', 'good.rootspan', 'missing', 'adopted.rootspan', ...POLICY])
    expect(several.code).toBe(2)
    expect(several.out.match(/VERIFIED/g)).toHaveLength(2)
    const json = await run(['verify', 'missing', 'bad.rootspan', 'good.rootspan', ...POLICY, '--json'])
    expect(json.code).toBe(1)
    expect(JSON.parse(json.out).map((each: { result: string }) => each.result)).toEqual([
      'not checked',
      'bad',
      'verified',
    ])
  })

  test('of standard input, once', async () => {
    const input = await readFile(at('good.rootspan'))
    expect((await run(['verify', '-', ...POLICY], { input })).code).toBe(0)
    expect((await run(['verify', '-', ...POLICY], { input: input.subarray(1) })).code).toBe(1)
    const twice = await run(['verify', '-', '-', ...POLICY], { input })
    expect(twice.code).toBe(2)
    expect(twice.err).toContain('standard input was read already')
  })

  test('colors when asked to, and never under NO_COLOR', async () => {
    expect((await run(['verify', 'good.rootspan', ...POLICY], { env: { FORCE_COLOR: '1' } })).out).toContain(
      '\u001b[32m',
    )
    const env = { NO_COLOR: '1', FORCE_COLOR: '1' }
    expect((await run(['verify', 'good.rootspan', ...POLICY], { env })).out).not.toContain('\u001b')
    expect((await run(['verify', 'bad.rootspan', ...POLICY], { env })).err).not.toContain('\u001b')
  })
})

describe('why', () => {
  test('verifies first, and answers from what holds alone', async () => {
    const { code, out, err } = await run(['why', 'good.rootspan', ...POLICY])
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(out).toMatch(/^VERIFIED {2}good\.rootspan\n/)
    expect(out.match(/^[A-Z].*\?$/gm)).toHaveLength(5)
    expect(out).toMatch(/\n {4}(?:leaf|leaves) [0-9, ]+, proved under the checkpoint of size [0-9]+\n/)
    expect(out).toContain('not checked\n')
    const bad = await run(['why', 'bad.rootspan', ...POLICY])
    expect(bad).toMatchObject({ code: 1, out: '' })
    expect(bad.err).toMatch(/^BAD {2}bad\.rootspan\n/)
    expect((await run(['why', 'good.rootspan', '--policy', 'other.policy'])).code).toBe(1)
    expect((await run(['why', 'missing', ...POLICY])).code).toBe(2)
    expect((await run(['why', 'good.rootspan'])).code).toBe(2)
  })

  test('of what was erased it says that it is not known', async () => {
    const { code, out } = await run(['why', 'erased.rootspan', ...POLICY])
    expect(code).toBe(0)
    expect(out).toContain('Something of segment 0 was erased or is withheld')
    expect(out).toMatch(/Nobody can say: a part of the evidence was erased.*\[unknown\]/)
    expect(out).not.toMatch(/^ {2}(?:Yes|No), by/m)
  })

  test('as JSON, of good evidence and of bad', async () => {
    const good = JSON.parse((await run(['why', 'good.rootspan', ...POLICY, '--json'])).out)
    expect(good).toMatchObject({ file: 'good.rootspan', result: 'verified' })
    expect(good.answers).toHaveLength(5)
    const bad = await run(['why', 'bad.rootspan', ...POLICY, '--json'])
    expect(JSON.parse(bad.out)).toMatchObject({ file: 'bad.rootspan', result: 'bad' })
  })

  test('no name steers the terminal, and colours are for terminals alone', async () => {
    const { out } = await run(['why', 'evil.rootspan', ...POLICY])
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    expect(out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/)
    const colored = await run(['why', 'good.rootspan', ...POLICY], { env: { FORCE_COLOR: '1' } })
    expect(colored.out).toContain('\u001b[')
    const plain = { FORCE_COLOR: '1', NO_COLOR: '1' }
    expect((await run(['why', 'good.rootspan', ...POLICY], { env: plain })).out).not.toContain('\u001b')
  })
})

describe('inspect', () => {
  test('draws the tree, and says that nothing was verified', async () => {
    const { code, out } = await run(['inspect', 'good.rootspan'])
    expect(code).toBe(0)
    expect(out).toContain('UNVERIFIED  good.rootspan')
    const lines = out.split('\n')
    const root = lines.findIndex((line) =>
      line.startsWith('POST /refunds  gateway  500 µs  request  ← authorization #0'),
    )
    expect(lines[root + 1]).toMatch(
      /^│ {2}◆ authorization .*authorization\.subject="user:alice" {2}#0 [0-9a-f]{8}$/,
    )
    expect(lines.slice(root).find((line) => line.startsWith('└─'))).toMatch(
      /^└─ refund {2}checkout {2}500 µs {2}action {2}#5 /,
    )
    expect(out).toMatch(/▪ sealed segment 0, 7 leaves {2}#7 /)
  })

  test('verifies first when it has a policy', async () => {
    expect((await run(['inspect', 'good.rootspan', ...POLICY])).out).toContain('VERIFIED  good.rootspan')
    const bad = await run(['inspect', 'bad.rootspan', ...POLICY])
    expect(bad).toMatchObject({ code: 1, out: '' })
    expect((await run(['inspect', 'good.rootspan', '--policy', 'other.policy'])).code).toBe(1)
    expect((await run(['inspect', 'missing'])).code).toBe(2)
    expect((await run(['inspect', 'log.policy'])).code).toBe(1)
  })

  test('marks what is unusual', async () => {
    expect((await run(['inspect', 'adopted.rootspan'])).out).toMatch(
      /span 1 {2}.*\[late\][\s\S]*└─ span 2 {2}.*\[adopted\]/,
    )
    expect((await run(['inspect', 'equivocal.rootspan'])).out).toMatch(
      /▪ finding {2}← subject #[0-9]+, subject #[0-9]+/,
    )
    expect((await run(['inspect', 'awaiting.rootspan'])).out).toContain(
      '[parent 0000000000000001 never came]',
    )
  })

  test('lets no name steer the terminal', async () => {
    const { out } = await run(['inspect', 'evil.rootspan'])
    expect(out).toContain('evil \\u{1b}[2J\\u{202e}\\u{a}name')
    expect(out).toContain('\\u{7}bell')
    expect(out).toContain('[error]')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    expect(out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/)
  })

  test.each([30, 70])('in %i columns', async (columns) => {
    for (const file of ['good.rootspan', 'evil.rootspan']) {
      const { out } = await run(['inspect', file], { env: { COLUMNS: String(columns) } })
      const tree = out.split('\n\n').slice(1).join('\n').split('\n')
      for (const line of tree) expect([...line].length).toBeLessThanOrEqual(columns)
    }
  })

  test('as JSON', async () => {
    const { out } = await run(['inspect', 'adopted.rootspan', '--json'])
    const tree = JSON.parse(out)
    expect(tree).toMatchObject({
      verified: false,
      tree: [
        { name: 'span 1', depth: 0, late: true, parent: 'root', service: 'checkout' },
        { name: 'span 2', depth: 1, adopted: true, parent: 'remote', parentLeafIndex: expect.any(Number) },
      ],
      other: [{ record: 'sealed' }, { record: 'adopted' }, { record: 'late' }, { record: 'sealed' }],
    })
    expect(tree.tree[1].parentLeafIndex).toBe(tree.tree[0].leafIndex)
    const verified = JSON.parse((await run(['inspect', 'good.rootspan', ...POLICY, '--json'])).out)
    expect(verified.verified).toBe(true)
    expect(verified.tree[0].facts.map((fact: { record: string }) => fact.record)).toEqual([
      'authorization',
      'verification',
      'decision',
      'transition',
    ])
    expect(verified.tree[0].facts[2].claims).toContainEqual({ key: 'governance.policy.version', value: '3' })
  })
})

describe('usage', () => {
  test.each([
    [[]],
    [['verify', 'good.rootspan']],
    [['verify', '--policy', 'log.policy']],
    [['audit', '--policy', 'log.policy']],
    [['inspect']],
    [['inspect', 'good.rootspan', 'adopted.rootspan']],
    [['verfy', 'good.rootspan']],
    [['verify', 'good.rootspan', '--polcy', 'log.policy']],
    [['audit', 'http://127.0.0.1:1/log', '--policy', 'log.policy', '--from-size', '-1']],
    [['completion', 'tcsh']],
  ])('%j is wrong', async (args) => {
    const { code, out, err } = await run(args)
    expect({ code, out }).toEqual({ code: 2, out: '' })
    expect(err).not.toBe('')
  })

  test('help and version', async () => {
    const help = await run(['--help'])
    expect(help).toMatchObject({ code: 0, err: '' })
    for (const part of [
      'Usage: rootspan-verify',
      'Exit codes:',
      'Examples:',
      'verify',
      'inspect',
      'audit',
      'completion',
    ])
      expect(help.out).toContain(part)
    for (const command of ['verify', 'inspect', 'why', 'audit', 'completion'])
      expect(await run([command, '--help'])).toMatchObject({ code: 0, err: '' })
    const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
    expect(await run(['--version'])).toEqual({ code: 0, out: `${version}\n`, err: '' })
  })

  test('completion for each shell names every command and option', async () => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { code, out } = await run(['completion', shell])
      expect(code).toBe(0)
      for (const word of ['verify', 'inspect', 'why', 'audit', 'completion', 'policy', 'json', 'from-size'])
        expect(out).toContain(word)
    }
  })

  test('completion works in bash', async () => {
    const { out } = await run(['completion', 'bash'])
    const script = `${out}
complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rootspan_verify; echo "\${COMPREPLY[@]}"; }
complete_words rootspan-verify a
complete_words rootspan-verify verify --p
complete_words rootspan-verify completion f`
    const bash = spawn('bash', ['--norc', '-c', script])
    let said = ''
    for await (const text of bash.stdout.setEncoding('utf8')) said += text
    expect(said).toBe('audit\n--policy\nfish\n')
  })

  test('a reader that goes away is no error', async () => {
    const child = spawn(
      'bash',
      [
        '-c',
        `'${process.execPath}' --conditions=source '${MAIN}' inspect good.rootspan --json | head -c 1; echo " \${PIPESTATUS[0]}"`,
      ],
      { cwd: directory },
    )
    let said = ''
    for await (const text of child.stdout.setEncoding('utf8')) said += text
    expect(said).toBe('{ 0\n')
  })
})

test('a bug of its own is no bad evidence', async () => {
  const said: string[] = []
  const world = nodeWorld(process)
  const broken = {
    ...world,
    err: { ...world.err, write: (text: string) => void said.push(text) },
    read: () => Promise.reject(new TypeError('planned')),
  }
  expect(await runCommand(['inspect', 'x.rootspan'], broken)).toBe(2)
  expect(said.join('')).toMatch(/TypeError: planned\n[\s\S]*a bug of rootspan-verify's/)
})
