import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestLog, testKey } from '../../../test/support/executions.ts'
import { type LogServer, type LogServerOptions, serveLog } from '../../../test/support/log-server.ts'
import { SHAPES } from '../../../test/support/shapes.ts'
import { auditCommand } from './audit-command.ts'
import { LogClient } from './log-client.ts'
import { nodeWorld, type Terminal, type World } from './world.ts'

interface Result {
  code: number
  out: string
  err: string
}

let directory: string
let policy: string
let log: TestLog

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rootspan-audit-'))
  policy = join(directory, 'log.policy')
  log = new TestLog()
  for (let trace = 1; log.size < 900; )
    for (const make of SHAPES.values()) {
      make(log, trace++)
      log.checkpoint()
    }
  await writeFile(policy, log.policyText)
})

afterAll(() => rm(directory, { recursive: true, force: true }))

const real = nodeWorld(process)

/** Runs the audit in this process, with the files of the real world and streams of its own. */
async function audit(
  url: string,
  options: { json?: boolean; fromSize?: number; policy?: string } = {},
): Promise<Result> {
  const said = { out: [] as string[], err: [] as string[] }
  const terminal = (lines: string[]): Terminal => ({
    ...real.out,
    isTty: false,
    write: (text) => void lines.push(text),
  })
  const world: World = { ...real, out: terminal(said.out), err: terminal(said.err) }
  const code = await auditCommand(world, url, { policy, ...options })
  return { code, out: said.out.join(''), err: said.err.join('') }
}

async function served<T>(
  options: LogServerOptions,
  use: (server: LogServer) => Promise<T>,
  of = log,
): Promise<T> {
  const server = await serveLog(of, options)
  try {
    return await use(server)
  } finally {
    await server.close()
  }
}

/** Answers once for each path and then as usual. */
function firstTime(answer: (response: ServerResponse, request: IncomingMessage) => void): LogServerOptions {
  const seen = new Set<string>()
  return {
    intercept(path, request, response) {
      if (seen.has(path)) return false
      seen.add(path)
      answer(response, request)
      return true
    },
  }
}

describe('audit', () => {
  test('derives a whole log again', async () => {
    await served({}, async ({ url, asked }) => {
      const { code, out, err } = await audit(url)
      expect({ code, err }).toEqual({ code: 0, err: '' })
      expect(out).toContain(`example.com/test/v0, ${log.size} leaves`)
      expect(out).toContain(
        `checkpoints   ${log.checkpoints.size + 1}, each signed and a prefix of this tree`,
      )
      expect(out).not.toContain('not served')
      // Everything that a log of this size serves was asked for, and nothing else.
      const paths = [...log.files().keys()]
      expect([...new Set(asked)].sort()).toEqual([...paths, 'checkpoints'].sort())
    })
  })

  test('as JSON', async () => {
    await served({}, async ({ url }) => {
      const { code, out } = await audit(`${url}/`, { json: true })
      expect(code).toBe(0)
      expect(JSON.parse(out)).toMatchObject({
        result: 'verified',
        origin: log.origin,
        treeSize: log.size,
        fromSize: 0,
        links: { linked: expect.any(Number), awaiting: expect.any(Number), remote: expect.any(Number) },
        checkpoints: log.checkpoints.size + 1,
      })
    })
  })

  test('of a log of others, which keeps no checkpoints', async () => {
    await served({ plain: true }, async ({ url }) => {
      const { code, out } = await audit(url)
      expect(code).toBe(0)
      expect(out).toContain('kept checkpoints: not served')
      expect(out).toContain('checkpoints   1, ')
    })
  })

  test('from a size on asks for little more than what came after it', async () => {
    const size = [...log.checkpoints.keys()].at(-3)!
    await served({}, async ({ url, asked }) => {
      const { code, out } = await audit(url, { fromSize: size, json: true })
      expect(code).toBe(0)
      expect(JSON.parse(out)).toMatchObject({ fromSize: size, checkpoints: 4 })
      expect(asked).not.toContain('tile/entries/000')
      expect((await audit(url, { fromSize: log.size })).code).toBe(0)
      expect((await audit(url, { fromSize: log.size + 1 })).code).toBe(2)
      expect((await audit(url, { fromSize: size - 1 })).code).toBe(1) // in the midst of a segment
    })
  })

  test('of a log that has grown, whose partial tiles are gone', async () => {
    const grown = new TestLog()
    while (grown.size < 300) grown.settle(grown.size + 1, [[{ id: 1 }, { id: 2, parent: 1 }]])
    const older = grown.checkpoint()
    while (grown.size < 530) grown.settle(grown.size + 1, [[{ id: 1 }]])
    const intercept: LogServerOptions['intercept'] = (path, _request, response) => {
      if (path === 'checkpoint') response.end(older)
      return path === 'checkpoint'
    }
    await served({ intercept }, async ({ url }) => expect(await audit(url)).toMatchObject({ code: 2 }), grown) // no tile/1/000
    const partial = Uint8Array.from(grown.tile(1, 0, 1))
    const withTop: LogServerOptions['intercept'] = (path, _request, response) => {
      const bytes = path === 'checkpoint' ? older : path === 'tile/1/000' ? partial : undefined
      if (bytes !== undefined) response.end(bytes)
      return bytes !== undefined
    }
    await served(
      { intercept: withTop },
      async ({ url }) => expect(await audit(url)).toMatchObject({ code: 0, err: '' }),
      grown,
    )
  })

  test('of an empty log, and of one that has no checkpoint yet', async () => {
    const empty = new TestLog()
    await served(
      {},
      async ({ url }) =>
        expect(await audit(url)).toMatchObject({ code: 2, err: expect.stringContaining('/log') }),
      empty,
    )
    empty.checkpoint()
    await served({}, async ({ url }) => expect((await audit(url)).code).toBe(0), empty)
  })

  test.each([
    ['an entry', /^tile\/entries\/001$/, 'tile/0/001: hash 255 '],
    ['a tile of level 0', /^tile\/0\/001$/, 'tile/0/001: hash '],
    ['a tile of level 1', /^tile\/1\//, 'tile/1/000.p/'],
    ['a kept checkpoint', /^checkpoint\/[0-9]+$/, 'checkpoint of size '],
    ['the checkpoint', /^checkpoint$/, 'checkpoint: '],
  ])('finds a changed byte in %s', async (_, pattern, where) => {
    const files = log.files()
    const intercept: LogServerOptions['intercept'] = (path, _request, response) => {
      if (!pattern.test(path)) return false
      const bytes = Uint8Array.from(files.get(path)!)
      bytes[bytes.length - 20]! ^= 1
      response.end(bytes)
      return true
    }
    await served({ intercept }, async ({ url }) => {
      const plain = await audit(url)
      expect(plain).toMatchObject({ code: 1, out: '' })
      expect(plain.err).toContain(where)
      const json = await audit(url, { json: true })
      expect(JSON.parse(json.out)).toMatchObject({
        result: 'bad',
        code: expect.any(String),
        where: expect.any(String),
      })
    })
  })

  test('finds a second history under the same key', async () => {
    const forked = new TestLog()
    forked.settle(777, [[{ id: 1 }]])
    const size = [...log.checkpoints.keys()].find((each) => each > forked.size)!
    while (forked.size < size) forked.append([log.entries[forked.size]!])
    const note = forked.checkpoint()
    const intercept: LogServerOptions['intercept'] = (path, _request, response) => {
      if (path !== `checkpoint/${size}`) return false
      response.end(note)
      return true
    }
    await served({ intercept }, async ({ url }) => {
      expect(await audit(url)).toMatchObject({
        code: 1,
        err: expect.stringMatching(/consistency.*\n.*two histories/),
      })
    })
  })

  test('under another key, or without a policy', async () => {
    const other = join(directory, 'other.policy')
    await writeFile(other, new TestLog([testKey(log.origin, 9)]).policyText)
    await served({}, async ({ url }) => {
      expect(await audit(url, { policy: other })).toMatchObject({
        code: 1,
        err: expect.stringContaining('untrusted'),
      })
      expect((await audit(url, { policy: join(directory, 'none') })).code).toBe(2)
    })
  })

  test('as a process: help names it, and the exit code is its own', async () => {
    await served({}, async ({ url }) => {
      const main = fileURLToPath(new URL('./main.ts', import.meta.url))
      const child = spawn(process.execPath, ['--conditions=source', main, 'audit', url, '--policy', policy])
      let out = ''
      let err = ''
      child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
      child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
      const code = await new Promise((resolve) => child.on('close', resolve))
      expect({ code, err }).toEqual({ code: 0, err: '' })
      expect(out).toContain('VERIFIED')
    })
  })
})

describe('a server that is not well', () => {
  test('is asked again', async () => {
    const answers: ((response: ServerResponse) => void)[] = [
      (response) => response.writeHead(503, { 'retry-after': '0' }).end('busy'),
      (response) => response.writeHead(500).end(),
      (response) => response.destroy(),
      (response) =>
        void response.writeHead(200, { 'content-length': '100' }).write('cut', () => response.destroy()),
    ]
    for (const answer of answers)
      await served(firstTime(answer), async ({ url }) =>
        expect(await audit(url)).toMatchObject({ code: 0, err: '' }),
      )
  })

  const asked = async (
    intercept: NonNullable<LogServerOptions['intercept']>,
    limit = 100,
  ): Promise<Buffer | undefined> =>
    served({ intercept }, async ({ url }) => {
      const client = new LogClient(url, { attempts: 2, backoffMillis: 1, timeoutMillis: 200 })
      try {
        return await client.find('checkpoint', limit)
      } finally {
        client.close()
      }
    })
  const answering =
    (answer: (response: ServerResponse, path: string) => void): NonNullable<LogServerOptions['intercept']> =>
    (path, _request, response) => {
      answer(response, path)
      return true
    }

  test('is given up in the end, and named', async () => {
    await expect(asked(answering((response) => response.writeHead(503).end()))).rejects.toThrow(
      'checkpoint: status 503, 2 times',
    )
    await expect(asked(answering(() => {}))).rejects.toThrow(/no answer within|silent/)
    const client = new LogClient('http://127.0.0.1:1/log', { attempts: 1 })
    await expect(client.find('checkpoint', 100)).rejects.toThrow(
      'http://127.0.0.1:1/log/checkpoint: connection refused, 1 times',
    )
    client.close()
  })

  test('is not read without end', async () => {
    const flood = answering((response) => {
      const timer = setInterval(() => response.write(Buffer.alloc(1000)), 1)
      response.on('close', () => clearInterval(timer))
    })
    await expect(asked(flood)).rejects.toThrow('over 100 bytes')
    const drip = answering((response) => {
      const timer = setInterval(() => response.write('x'), 20)
      response.on('close', () => clearInterval(timer))
    })
    await expect(asked(drip)).rejects.toThrow('no answer within 0.2 s')
    const bomb = gzipSync(Buffer.alloc(1_000_000))
    await expect(
      asked(
        answering((response) => response.setHeader('content-encoding', 'gzip').end(bomb)),
        5000,
      ),
    ).rejects.toThrow('over 5000 bytes')
  })

  test('may send gzip, and nothing else', async () => {
    const zipped = answering((response) =>
      response.setHeader('content-encoding', 'gzip').end(gzipSync('text')),
    )
    expect(String(await asked(zipped))).toBe('text')
    await expect(
      asked(answering((response) => response.setHeader('content-encoding', 'br').end('x'))),
    ).rejects.toThrow('encoding br')
  })

  test('may redirect on its own host, a few times', async () => {
    const to = (where: (path: string) => string | undefined): Promise<Buffer | undefined> =>
      asked(
        answering((response, path) => {
          const location = where(path)
          if (location === undefined) response.end('here')
          else response.writeHead(302, { location }).end()
        }),
      )
    expect(String(await to((path) => (path === 'checkpoint' ? '/log/elsewhere' : undefined)))).toBe('here')
    await expect(to(() => '/log/round')).rejects.toThrow('over 3 redirects')
    await expect(to(() => 'http://localhost:1/log/checkpoint')).rejects.toThrow('redirects to another host')
    await expect(to(() => '//example.com/log')).rejects.toThrow('redirects to another host')
    await expect(to(() => 'file:///etc/passwd')).rejects.toThrow('redirects to another host')
    await expect(to(() => 'http://')).rejects.toThrow('redirects to another host')
  })

  test('that lists checkpoints in circles, or lists none', async () => {
    const listing = (text: string): LogServerOptions => ({
      intercept(path, _request, response) {
        if (path === 'checkpoints') response.end(text)
        return path === 'checkpoints'
      },
    })
    for (const text of [
      '',
      '{}',
      '[]',
      '{"sizes":[2,1]}',
      '{"sizes":[1,1]}',
      '{"sizes":[1.5]}',
      '{"sizes":["1"]}',
      '{"sizes":[],"next":-1}',
      '{"sizes":[],"next":2}',
    ])
      await served(listing(text), async ({ url }) =>
        expect(await audit(url)).toMatchObject({
          code: 2,
          err: expect.stringContaining('the list of kept checkpoints is not one'),
        }),
      )
    // A page must end past where it began: this one would come back for ever.
    await served(listing('{"sizes":[],"next":0}'), async ({ url }) =>
      expect(await audit(url)).toMatchObject({ code: 2, err: expect.stringContaining('is not one') }),
    )
    await served(listing('{"sizes":[1]}'), async ({ url }) =>
      expect(await audit(url)).toMatchObject({
        code: 2,
        err: expect.stringContaining('checkpoint/1: the log does not serve it'),
      }),
    )
  })

  test.each(['ftp://example.com/log', 'example.com/log', 'http://', 'http://127.0.0.1/log?a=b', ''])(
    '%j is no log',
    async (url) => {
      expect(await audit(url)).toMatchObject({
        code: 2,
        err: expect.stringContaining('is not the URL of a log'),
      })
    },
  )
})
