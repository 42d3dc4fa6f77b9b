/** Starting the collector's worker threads, from source and from the compiled package alike. */
import { setFlagsFromString } from 'node:v8'
import { type MessagePort, Worker } from 'node:worker_threads'

/** How much a heap may grow, in percent of what lived in it, before all of it is marked again. */
const GROWTH_PERCENT = 400

/**
 * Lets the heaps of this process grow to five times of what lives in them. By itself V8 marks them all again for every 30
 * MB that are received, because buffers outside of a heap count as its growth: that is twice a second under load, and a
 * tenth of the collector's CPU. The heaps are small, because spans and requests lie outside of them.
 *
 * A younger generation that was made small for the main thread (`--max-semi-space-size`, deploy/rootspan.service) is not
 * for the threads that are started after this, which say how large theirs is.
 */
export function growHeaps(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`)
  setFlagsFromString('--max-semi-space-size=0')
}

/** CPU time of the thread that asks, in seconds; undefined where Node does not tell it (before 23.9). */
export function threadCpuSeconds(): number | undefined {
  const cpu = process.threadCpuUsage?.()
  return cpu === undefined ? undefined : (cpu.user + cpu.system) / 1e6
}

/**
 * Starts `name.ts` or `name.js` beside this file. A thread that throws or ends by itself is a failure of the
 * whole collector: its state cannot be trusted, and a restart recovers. `ports` in the data become the thread's.
 */
export function startThread(
  name: string,
  workerData: object,
  onFailure: (error: Error) => void,
  ports: readonly MessagePort[] = [],
): Worker {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const worker = new Worker(new URL(`./${name}.${extension}`, import.meta.url), {
    workerData,
    transferList: [...ports],
    name,
    // Three semi-spaces of 8 MiB: half of the default saves 100 MiB under load and costs no CPU that can be measured.
    resourceLimits: { maxYoungGenerationSizeMb: 24 },
  })
  worker.on('error', (error) => onFailure(error instanceof Error ? error : new Error(String(error))))
  worker.on('exit', (code) => {
    if (code !== 0) onFailure(new Error(`the ${name} thread ended with code ${code}`))
  })
  return worker
}
