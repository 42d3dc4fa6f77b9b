/** Starting the collector's worker threads, from source and from the compiled package alike. */
import { Worker } from 'node:worker_threads'

/**
 * Starts `name.ts` or `name.js` beside this file. A thread that throws or ends by itself is a failure of the
 * whole collector: its state cannot be trusted, and a restart recovers.
 */
export function startThread(name: string, workerData: object, onFailure: (error: Error) => void): Worker {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const worker = new Worker(new URL(`./${name}.${extension}`, import.meta.url), {
    workerData,
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
