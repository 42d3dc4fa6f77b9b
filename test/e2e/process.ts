/** Programs as processes: started, watched for what they say, and never left behind. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { root } from '../../scripts/workspace.ts'

/** How a process ended. `code` is null after a signal. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface StartOptions {
  readonly cwd?: string
  /** Added to a small clean environment: nothing of the test runner's own reaches the process. */
  readonly env?: Readonly<Record<string, string>>
  /** In messages. */
  readonly name?: string
  /** Signals reach it and all that it starts, as from a terminal. */
  readonly group?: boolean
}

const running = new Set<Running>()
const directories = new Set<string>()

/** A process whose output is kept. */
export class Running {
  readonly name: string
  readonly #child: ChildProcess
  readonly #isGroup: boolean
  readonly #ended: Promise<Ended>
  #stdout = ''
  #stderr = ''
  #isOver = false

  constructor(name: string, child: ChildProcess, isGroup: boolean) {
    this.name = name
    this.#child = child
    this.#isGroup = isGroup
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text
    })
    this.#ended = once(child, 'close').then(([code]) => {
      this.#isOver = true
      return { code: code as number | null, stdout: this.#stdout, stderr: this.#stderr }
    })
    this.#ended.catch(() => {})
  }

  get stdout(): string {
    return this.#stdout
  }

  get stderr(): string {
    return this.#stderr
  }

  get pid(): number {
    const { pid } = this.#child
    if (pid === undefined) throw new Error(`${this.name} did not start`)
    return pid
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** Waits until standard output matches; rejects with all that was said when it does not, or the process ends. */
  async says(pattern: RegExp, millis = 60_000): Promise<RegExpExecArray> {
    return waitFor(
      `${this.name} to say ${pattern}`,
      () => {
        const match = pattern.exec(this.#stdout)
        if (match === null && this.#isOver) throw new Error(`${this.name} has ended:${this.#said()}`)
        return match ?? undefined
      },
      millis,
      () => this.#said(),
    )
  }

  /** Does nothing when it is over. To the whole group where it has one, unless `alone`. */
  signal(signal: NodeJS.Signals, { alone = false }: { alone?: boolean } = {}): void {
    const { pid } = this.#child
    if (!this.#isGroup || alone) this.#child.kill(signal)
    else if (pid !== undefined && !this.#isOver) process.kill(-pid, signal)
  }

  /** Waits for the end; kills it and rejects after `millis`. */
  async ends(millis = 60_000): Promise<Ended> {
    const late = sleep(millis, undefined, { ref: false }).then(() => {
      this.signal('SIGKILL')
      throw new Error(`${this.name} has not ended after ${millis} ms:${this.#said()}`)
    })
    late.catch(() => {})
    return Promise.race([this.#ended, late])
  }

  #said(): string {
    return `\n--- stdout\n${this.#stdout.slice(-3000)}\n--- stderr\n${this.#stderr.slice(-3000)}`
  }
}

/** Starts a program with its arguments. The workspace's Node and commands come first in its PATH. */
export function startProgram(
  command: string,
  args: readonly string[],
  { cwd, env, name = command, group = false }: StartOptions = {},
): Running {
  const child = spawn(command, args, {
    cwd: cwd ?? root,
    env: { ...cleanEnvironment(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: group,
  })
  const started = new Running(name, child, group)
  running.add(started)
  child.once('close', () => running.delete(started))
  return started
}

/** Runs a program to its end. */
export async function runProgram(
  command: string,
  args: readonly string[],
  options: StartOptions & { readonly millis?: number } = {},
): Promise<Ended> {
  return startProgram(command, args, options).ends(options.millis)
}

function cleanEnvironment(): Record<string, string> {
  const kept = ['HOME', 'TMPDIR', 'LANG', 'GOPATH', 'GOCACHE', 'GOPROXY', 'GOFLAGS']
  const env = Object.fromEntries(
    kept.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  )
  const path = [join(root, 'node_modules', '.bin'), process.env.PATH ?? ''].join(delimiter)
  return { ...env, PATH: path, NO_COLOR: '1' }
}

/** Asks every 50 ms until there is an answer. `detail` is added to the message when there is none in time. */
export async function waitFor<T>(
  what: string,
  ask: () => T | undefined | Promise<T | undefined>,
  millis = 60_000,
  detail: () => string = () => '',
): Promise<T> {
  const end = Date.now() + millis
  for (;;) {
    const answer = await ask()
    if (answer !== undefined) return answer
    if (Date.now() > end) throw new Error(`waited ${millis} ms for ${what}${detail()}`)
    await sleep(50)
  }
}

/** A directory of its own for a test, gone after {@link cleanUp}. */
export async function makeDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'rootspan-e2e-'))
  directories.add(directory)
  return directory
}

/** Kills what still runs and removes the directories. For `afterAll`. */
export async function cleanUp(): Promise<void> {
  await Promise.all(
    [...running].map((one) => {
      one.signal('SIGKILL')
      return one.ends(10_000)
    }),
  )
  for (const directory of directories) await rm(directory, { recursive: true, force: true })
  directories.clear()
}
