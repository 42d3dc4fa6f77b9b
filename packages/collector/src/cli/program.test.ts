import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeEach, describe, expect, test } from 'vitest'
import { parseConfig } from '../config.ts'
import { type Files, nodeFiles } from '../files.ts'
import { OperatorError } from '../operator-error.ts'
import { LOG_FILE, parseLogFile, readLogFile } from '../origin.ts'
import { openSigner } from '../signer.ts'
import { readSigningKey } from '../signing-key.ts'
import { type InitWorld, initialise } from './init.ts'
import { main } from './program.ts'

let directory: string
let data: string
let signer: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rootspan-cli-'))
  data = join(directory, 'data')
  signer = join(directory, 'signer')
})

async function rootspan(...args: string[]) {
  const [out, err]: string[][] = [[], []]
  const code = await main(args, {
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

const init = (...args: string[]) => rootspan('init', '--data', data, '--signer', signer, ...args)

describe('exit codes and errors', () => {
  test.each([[['--version']], [['--help']], [['run', '--help']], [['init', '-h']]])(
    '%j is 0',
    async (args) => {
      const { code, out, err } = await rootspan(...args)
      expect({ code, err }).toEqual({ code: 0, err: '' })
      expect(out).not.toBe('')
    },
  )

  test.each([
    [[]],
    [['bogus']],
    [['run', '--bogus']],
    [['run', 'extra']],
    [['keygen']],
    [['completion', 'tcsh']],
    [['completion']],
    [['config', '--config', '/does/not/exist']],
    [['config', '--grpc', '0.0.0.0:1']],
    [['config', '--quiet-period', '5']],
    [['first-trace', '--timeout', 'x']],
  ])('%j is 2, and says so on standard error only', async (args) => {
    const { code, out, err } = await rootspan(...args)
    expect({ code, out }).toEqual({ code: 2, out: '' })
    expect(err).not.toBe('')
    expect(err).not.toMatch(/^ +at /m)
  })

  test('help has examples, and every command is described', async () => {
    const { out } = await rootspan('--help')
    for (const command of [
      'init',
      'run',
      'keygen',
      'fsck',
      'config',
      'completion',
      'first-trace',
      'rules',
      'findings',
      'why',
    ]) {
      expect(out).toMatch(new RegExp(`^  ${command} `, 'm'))
      const help = await rootspan(command, '--help')
      expect(help.out).toContain(`$ rootspan ${command}`)
      expect(help.out).toContain('show help')
    }
  })

  test('a stack trace is shown with --log-level debug only', async () => {
    mkdirSync(join(data, LOG_FILE), { recursive: true })
    const run = (level: string) => rootspan('run', '--data', data, '--signer', signer, '--log-level', level)
    const { code, err } = await run('info')
    expect(code).toBe(1)
    expect(err).toContain(join(data, LOG_FILE))
    expect(err).not.toMatch(/^ +at /m)
    expect((await run('debug')).err).toMatch(/^ +at /m)
  })
})

describe('init', () => {
  test('makes a log that a signer opens', async () => {
    const { code, out } = await init()
    expect(code).toBe(0)
    const identity = (await readLogFile(nodeFiles, data))!
    expect(identity.origin).toMatch(/^rootspan\.local\/[a-z0-9.-]+-[0-9a-f]{8}\/v0$/)
    expect(out).toContain(identity.key)
    expect(out).toContain(`rootspan run --data ${data} --signer ${signer}`)
    expect(readdirSync(data).sort()).toEqual(['log', LOG_FILE])
    expect(statSync(join(signer, 'key')).mode & 0o777).toBe(0o600)
    expect(statSync(signer).mode & 0o077).toBe(0)
    expect(statSync(data).mode & 0o077).toBe(0)
    const opened = await openSigner({ directory: signer, ...identity, files: nodeFiles })
    expect(await opened.remembered()).toMatchObject({ origin: identity.origin, size: 0 })
    expect(out).not.toContain(readFileSync(join(signer, 'key'), 'utf8').trim().slice(-44))
  })

  test('refuses where a log is, and changes nothing', async () => {
    await init('--origin', 'a.example/v0')
    const before = [readFileSync(join(data, LOG_FILE)), readFileSync(join(signer, 'key'))]
    const { code, err } = await init()
    expect(code).toBe(1)
    expect(err).toContain('a.example/v0 is there already')
    expect([readFileSync(join(data, LOG_FILE)), readFileSync(join(signer, 'key'))]).toEqual(before)
  })

  test('takes the origin that is asked for', async () => {
    await init('--origin', 'logs.example.com/prod/v0')
    expect((await readLogFile(nodeFiles, data))?.origin).toBe('logs.example.com/prod/v0')
  })

  test.each(['a.example', 'https://a.example/v0', 'a b/v0', ''])('refuses the origin %j', async (origin) => {
    const { code, err } = await init('--origin', origin)
    expect(code).toBe(2)
    expect(err).toContain('origin')
    expect(existsSync(data) || existsSync(signer)).toBe(false)
  })

  test('takes a key that keygen made, and its name', async () => {
    const { out } = await rootspan('keygen', '--origin', 'k.example/v0', '--out', signer)
    expect((await init()).code).toBe(0)
    const identity = parseLogFile(readFileSync(join(data, LOG_FILE)))
    expect(out).toBe(`${identity.key}\n`)
    expect(identity.origin).toBe('k.example/v0')
  })

  test('refuses the key of another origin, and one that others can read', async () => {
    await rootspan('keygen', '--origin', 'k.example/v0', '--out', signer)
    expect((await init('--origin', 'l.example/v0')).err).toContain(
      'is that of k.example/v0, not of l.example/v0',
    )
    chmodSync(join(signer, 'key'), 0o644)
    expect((await init()).err).toContain(`chmod 600 ${join(signer, 'key')}`)
    expect(existsSync(data)).toBe(false)
  })

  test('refuses a signer that has signed: its log is lost, not new', async () => {
    await init()
    const identity = (await readLogFile(nodeFiles, data))!
    const opened = await openSigner({ directory: signer, ...identity, files: nodeFiles })
    await opened.sign({ size: 1, root: new Uint8Array(32).fill(1) }, async () => [])
    rmSync(data, { recursive: true })
    const { code, err } = await init()
    expect(code).toBe(1)
    expect(err).toContain(`has signed 1 leaves of ${identity.origin}`)
    expect(existsSync(data)).toBe(false)
  })

  test.each([['journal'], ['packs'], ['note.txt']])('refuses a directory with %s in it', async (name) => {
    mkdirSync(data)
    writeFileSync(join(data, name), '')
    expect((await init()).code).toBe(1)
    expect(existsSync(signer)).toBe(false)
  })

  test('refuses a database that was used, whose log.json is gone', async () => {
    await init()
    rmSync(join(data, LOG_FILE))
    writeFileSync(join(data, 'log', '000005.ldb'), 'x')
    expect((await init()).err).toContain('holds a database')
  })

  test('whichever step fails, a second attempt makes the log, with the key of the first', async () => {
    const config = parseConfig(`storage: {directory: ${data}}\nsigner: {directory: ${signer}}`, 'c', {
      env: {},
    })
    const fill = (size: number) => new Uint8Array(size).fill(5)
    const world = (files: Files): InitWorld => ({
      files,
      random: fill,
      now: () => new Date(0),
      hostname: 'H o!',
    })
    let failures = 0
    for (let at = 1; ; at++) {
      rmSync(data, { recursive: true, force: true })
      rmSync(signer, { recursive: true, force: true })
      const made = await initialise(config, undefined, world(failingAt(at))).catch((error: unknown) => error)
      if (!(made instanceof Error)) break
      expect(made.message).toBe('injected')
      failures += 1
      const key = await readSigningKey(nodeFiles, signer)
      if (existsSync(join(data, LOG_FILE))) continue
      const again = await initialise(config, undefined, world(nodeFiles))
      expect(again.isNewKey).toBe(key === undefined)
      expect(again.identity.origin).toBe('rootspan.local/h-o--05050505/v0')
      await openSigner({ directory: signer, ...again.identity, files: nodeFiles })
    }
    expect(failures).toBeGreaterThan(12)
  })
})

/** The n-th change of the disk is not made, and fails. */
function failingAt(at: number): Files {
  let calls = 0
  const step = <T>(work: () => Promise<T>): Promise<T> =>
    ++calls === at ? Promise.reject(new Error('injected')) : work()
  return {
    ...nodeFiles,
    mkdir: (path) => step(() => nodeFiles.mkdir(path)),
    rename: (from, to) => step(() => nodeFiles.rename(from, to)),
    fsyncDirectory: (path) => step(() => nodeFiles.fsyncDirectory(path)),
    open: (path, mode, permissions) =>
      mode === 'read' ? nodeFiles.open(path, mode) : step(() => nodeFiles.open(path, mode, permissions)),
  }
}

test('run refuses without a log and says what to run', async () => {
  const { code, err } = await rootspan('run', '--data', data, '--signer', `${signer} x`)
  expect(code).toBe(2)
  expect(err).toContain(`Run: rootspan init --data ${data} --signer '${signer} x'\n`)
  expect(existsSync(data)).toBe(false)
})

test('run refuses an origin that is not the log’s', async () => {
  await init('--origin', 'a.example/v0')
  const file = join(directory, 'c.yaml')
  writeFileSync(file, 'log: {origin: b.example/v0}')
  const { code, err } = await rootspan('run', '--config', file, '--data', data, '--signer', signer)
  expect(code).toBe(2)
  expect(err).toContain('b.example/v0')
})

describe('keygen', () => {
  test('prints a pair, another one each time', async () => {
    const [one, two] = [
      await rootspan('keygen', '--origin', 'a/v0'),
      await rootspan('keygen', '--origin', 'a/v0'),
    ]
    expect(one.out).toMatch(/^PRIVATE\+KEY\+a\/v0\+[0-9a-f]{8}\+\S{44}\na\/v0\+[0-9a-f]{8}\+\S{44}\n$/)
    expect(one.out).not.toBe(two.out)
  })

  test('never overwrites a key', async () => {
    await rootspan('keygen', '--origin', 'a/v0', '--out', signer)
    const before = readFileSync(join(signer, 'key'))
    expect((await rootspan('keygen', '--origin', 'a/v0', '--out', signer)).code).toBe(1)
    expect(readFileSync(join(signer, 'key'))).toEqual(before)
  })

  test('refuses a name that no key has', async () => {
    expect((await rootspan('keygen', '--origin', 'a b')).code).toBe(2)
  })
})

describe('config', () => {
  test('prints what is in force, flags included, and that loads again', async () => {
    const { out } = await rootspan('config', '--quiet-period', '250ms', '--data', data)
    const config = parseConfig(out, 'out', { env: {} })
    expect(config.assembler.quietPeriod).toBe(250)
    expect(config.storage.directory).toBe(data)
  })

  test('checks a file', async () => {
    const file = join(directory, 'c.yaml')
    writeFileSync(file, 'logs: {level: warn}')
    expect(await rootspan('config', '--check', file)).toEqual({ code: 0, out: `${file}: ok\n`, err: '' })
    writeFileSync(file, 'logs: {levle: warn}')
    const { code, err } = await rootspan('config', '--check', file)
    expect(code).toBe(2)
    expect(err).toContain(`${file}:1:8: logs.levle: unknown, did you mean logs.level?`)
  })

  test('prints a JSON Schema', async () => {
    expect(JSON.parse((await rootspan('config', '--schema')).out).type).toBe('object')
  })
})

describe('completion', () => {
  const script = async (shell: string) => (await rootspan('completion', shell)).out

  const complete = (bash: string, ...words: string[]): string[] => {
    const list = words.map((word) => `'${word}'`).join(' ')
    const line = `${bash}\nCOMP_WORDS=(rootspan ${list}); COMP_CWORD=${words.length}; _rootspan; printf '%s\\n' "\${COMPREPLY[@]}"`
    const { stdout, stderr, status } = spawnSync('bash', ['-c', line], { encoding: 'utf8' })
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
    return stdout.split('\n').filter((word) => word !== '')
  }

  test.skipIf(!has('bash'))('bash completes commands, flags and their values', async () => {
    const bash = await script('bash')
    expect(complete(bash, 'in')).toEqual(['init'])
    expect(complete(bash, '')).toEqual(expect.arrayContaining(['run', 'fsck', 'first-trace', '--version']))
    expect(complete(bash, 'run', '--q')).toEqual(['--quiet-period'])
    expect(complete(bash, 'keygen', '--')).toEqual(['--origin', '--out', '--log-level', '--help'])
    expect(complete(bash, 'completion', '')).toEqual(expect.arrayContaining(['bash', 'zsh', 'fish']))
    expect(complete(bash, 'run', '--log-level', 'd')).toEqual(['debug'])
    expect(complete(bash, 'run', '--grpc', '')).toEqual([])
    writeFileSync(join(directory, 'c.yaml'), '')
    mkdirSync(data)
    expect(complete(bash, 'run', '--config', join(directory, 'c'))).toEqual([join(directory, 'c.yaml')])
    expect(complete(bash, 'run', '--data', `${directory}/`)).toEqual([data])
  })

  test.each(['zsh', 'fish'])(
    '%s has every command and flag, and parses where there is one',
    async (shell) => {
      const text = await script(shell)
      const bash = await script('bash')
      const flags = new Set(bash.match(/--[a-z-]+/g))
      flags.delete('--version')
      for (const flag of flags) expect(text).toContain(shell === 'fish' ? `-l ${flag.slice(2)}` : flag)
      if (!has(shell)) return
      const { stderr, status } = spawnSync(shell, ['-n'], { input: text, encoding: 'utf8' })
      expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
    },
  )
})

function has(shell: string): boolean {
  return spawnSync(shell, ['-c', 'exit 0']).status === 0
}

test.skipIf(process.platform !== 'linux')(
  'the thread pool has eight threads, or as many as asked for',
  () => {
    const probe = join(directory, 'probe.cjs')
    writeFileSync(
      probe,
      `const { readdirSync, readFileSync } = require('node:fs')
    process.on('exit', () => {
      const names = readdirSync('/proc/self/task').map((id) => readFileSync('/proc/self/task/' + id + '/comm', 'utf8'))
      console.log('workers', names.filter((name) => name.startsWith('libuv-worker')).length)
    })`,
    )
    const program = fileURLToPath(new URL('../main.cts', import.meta.url))
    const count = (env: NodeJS.ProcessEnv, name: string): string => {
      const args = [
        '--conditions=source',
        '--require',
        probe,
        program,
        'keygen',
        '--origin',
        'a/v0',
        '--out',
        join(directory, name),
      ]
      return spawnSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, ...env } }).stdout
    }
    expect(count({ UV_THREADPOOL_SIZE: undefined }, 'one')).toContain('workers 8\n')
    expect(count({ UV_THREADPOOL_SIZE: '3' }, 'two')).toContain('workers 3\n')
  },
)

test('an operator’s error has a message and a hint', () => {
  const error = new OperatorError('what', 'next', { exitCode: 2 })
  expect(error).toMatchObject({ message: 'what', hint: 'next', exitCode: 2 })
})
