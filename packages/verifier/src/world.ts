/** What the commands see of the machine: two streams, files, the environment. */
import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { createColors } from 'picocolors'

export type Colors = ReturnType<typeof createColors>

export interface World {
  readonly out: Terminal
  readonly err: Terminal
  /** The bytes of a file, or of standard input for `-`. Throws an {@link UnusableError} past `limit` bytes. */
  read(path: string, limit: number): Promise<Uint8Array>
  /** Milliseconds, monotonic. */
  now(): number
  /** Has `restore` called before a signal ends the process, until what is returned is called. */
  beforeSignal(restore: () => void): () => void
}

export interface Terminal {
  readonly stream: NodeJS.WriteStream
  write(text: string): void
  /** It is a terminal, and one that can move its cursor. */
  readonly isTty: boolean
  /** Columns that a line may take; Infinity where nobody looks. */
  readonly columns: number
  readonly colors: Colors
}

/** What was asked could not be done, which says nothing about the evidence: exit code 2. */
export class UnusableError extends Error {
  override readonly name = 'UnusableError'
  /** What the user can do about it. */
  readonly hint: string

  constructor(message: string, hint: string, options?: ErrorOptions) {
    super(message, options)
    this.hint = hint
  }
}

/** The real one. A closed pipe (`| head`) ends output quietly. */
export function nodeWorld(node: NodeJS.Process): World {
  for (const stream of [node.stdout, node.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
    })
  return {
    out: terminal(node.stdout, node.env),
    err: terminal(node.stderr, node.env),
    read: (path, limit) => (path === '-' ? readStream(node.stdin, limit) : readFile(path, limit)),
    now: () => performance.now(),
    beforeSignal(restore) {
      const end = (signal: NodeJS.Signals): void => {
        restore()
        // Nobody listens to it any more, so that it ends the process as it would have.
        node.kill(node.pid, signal)
      }
      for (const signal of SIGNALS) node.once(signal, end)
      return () => {
        for (const signal of SIGNALS) node.off(signal, end)
      }
    },
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

function terminal(stream: NodeJS.WriteStream, env: NodeJS.ProcessEnv): Terminal {
  const isTty = stream.isTTY === true && env.TERM !== 'dumb'
  const columns = isTty ? stream.columns : Number.parseInt(env.COLUMNS ?? '', 10)
  return {
    stream,
    write: (text) => void stream.write(text),
    isTty,
    columns: columns >= 20 ? columns : Number.POSITIVE_INFINITY,
    colors: createColors(wantsColor(isTty, env)),
  }
}

/** https://no-color.org and its opposite. */
function wantsColor(isTty: boolean, env: NodeJS.ProcessEnv): boolean {
  if ((env.NO_COLOR ?? '') !== '') return false
  if ((env.FORCE_COLOR ?? '') !== '') return env.FORCE_COLOR !== '0'
  return isTty
}

async function readFile(path: string, limit: number): Promise<Uint8Array> {
  try {
    const file = await open(path, 'r')
    try {
      return await readStream(file.createReadStream({ autoClose: false }), limit)
    } finally {
      await file.close()
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    const hint = code === 'ENOENT' ? 'Check the path.' : 'Check the path and its permissions.'
    throw new UnusableError(`cannot read it: ${REASONS[code] ?? code}`, hint, { cause: error })
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of its path is no directory',
}

async function readStream(stream: Readable, limit: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > limit)
      throw new UnusableError(`it is over ${limit} bytes long`, 'Check that it is the right file.')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
