/** Fuzzes one target on a worker thread and watches that it moves. */
import { Worker } from 'node:worker_threads'
import { MAX_INPUT } from './mutate.ts'
import { targets } from './targets.ts'

export interface WorkerOrder {
  /** URL of the module that exports `targets`. */
  registry: string
  target: string
  seed: number
  seconds: number
  /** Run this input only. */
  input: Uint8Array | undefined
  /** Int32 count of runs, int32 length, then the input being run. */
  shared: SharedArrayBuffer
}

export type WorkerMessage =
  | { type: 'started' }
  | { type: 'find'; problem: string; input: Uint8Array }
  | { type: 'done'; runs: number; outcomes: string[] }

export interface Options {
  seconds: number
  seed: number
  /** Run this input only. */
  input?: Uint8Array
  /** URL of another registry than targets.ts. */
  registry?: string
  /** How long one input may take before it counts as a hang; far above any target's `maxMillis`. */
  hangMillis?: number
}

export type Outcome =
  | { found: false; runs: number; outcomes: string[] }
  | { found: true; problem: string; input: Uint8Array }

const HANG_MILLIS = 20_000

export async function fuzz(target: string, options: Options): Promise<Outcome> {
  const shared = new SharedArrayBuffer(8 + Math.max(MAX_INPUT * 16, options.input?.length ?? 0))
  const order: WorkerOrder = {
    registry: options.registry ?? new URL('./targets.ts', import.meta.url).href,
    target,
    seed: options.seed,
    seconds: options.seconds,
    input: options.input,
    shared,
  }
  const worker = new Worker(new URL('./worker.ts', import.meta.url), {
    workerData: order,
    execArgv: ['--conditions=source'],
  })
  try {
    return await watch(worker, shared, options.hangMillis ?? HANG_MILLIS)
  } finally {
    await worker.terminate()
  }
}

/** Resolves with what the worker says, or with the input that it has been busy with for too long. */
function watch(worker: Worker, shared: SharedArrayBuffer, hangMillis: number): Promise<Outcome> {
  const counter = new Int32Array(shared, 0, 2)
  return new Promise((resolve, reject) => {
    let last = 0
    let since = Number.POSITIVE_INFINITY
    const timer = setInterval(
      () => {
        const count = Atomics.load(counter, 0)
        if (count !== last) {
          last = count
          since = performance.now()
        } else if (performance.now() - since > hangMillis)
          settle(() => {
            const input = new Uint8Array(shared, 8, counter[1]!).slice()
            resolve({ found: true, problem: `still running after ${hangMillis} ms`, input })
          })
      },
      Math.min(hangMillis / 4, 250),
    )
    const settle = (then: () => void) => {
      clearInterval(timer)
      then()
    }
    worker.on('message', (message: WorkerMessage) => {
      if (message.type === 'find')
        settle(() => resolve({ found: true, problem: message.problem, input: message.input }))
      else if (message.type === 'done')
        settle(() => resolve({ found: false, runs: message.runs, outcomes: message.outcomes }))
    })
    worker.on('error', (error) => settle(() => reject(error)))
    worker.on('exit', (code) => settle(() => reject(new Error(`the fuzzing thread exited with ${code}`))))
  })
}

export function targetNames(): string[] {
  return targets.map((target) => target.name)
}
