/** A collector in a process of its own, as an operator starts it, so that it can be killed. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const MAIN = join(import.meta.dirname, '../../packages/collector/src/main.cts')

/** Segments, packs and periods small enough for rotation, trimming and several checkpoints in each life. */
export const SETTINGS = `
receivers:
  grpc: {endpoint: '127.0.0.1:0', max_request_bytes: 32KiB}
  http: {endpoint: '127.0.0.1:0', max_request_bytes: 32KiB}
api: {endpoint: '127.0.0.1:0'}
journal: {segment_bytes: 192KiB, max_bytes: 64MiB, min_free_bytes: 0B}
packs: {max_bytes: 64KiB}
assembler: {quiet_period: 100ms, max_age: 400ms}
log: {checkpoint_interval: 50ms}
logs: {format: json}
`

export interface Endpoints {
  readonly http: string
  readonly grpc: string
  readonly api: string
}

export class CollectorProcess {
  readonly #child: ChildProcess
  readonly #exit: Promise<number | string>
  /** Its endpoints; undefined when it ends before it serves. */
  readonly ready: Promise<Endpoints | undefined>
  /** Everything that it said. */
  output = ''

  /** `config` is the path of a configuration file; logs must be JSON. */
  constructor(config: string) {
    const child = spawn(process.execPath, ['--conditions=source', MAIN, 'run', '--config', config], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child = child
    this.#exit = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string)
    const announced = Promise.withResolvers<Endpoints | undefined>()
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.output += `${line}\n`
      const message = line.startsWith('{') ? JSON.parse(line) : {}
      if (message.msg === 'running') announced.resolve(message as Endpoints)
    })
    child.stderr.on('data', (data) => {
      this.output += data
    })
    this.ready = Promise.race([announced.promise, this.#exit.then(() => undefined)])
  }

  /** Its endpoints; throws when it ends before it serves. */
  async serving(): Promise<Endpoints> {
    const endpoints = await this.ready
    if (endpoints === undefined) throw new Error(`it did not start: ${this.output}`)
    return endpoints
  }

  /** Ends it as a power button does; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exit
  }

  /** Asks it to stop. */
  terminate(): void {
    this.#child.kill('SIGTERM')
  }

  /** Its exit code, or the signal that ended it. */
  get exit(): Promise<number | string> {
    return this.#exit
  }
}
