/**
 * The API thread: serves reads, so that neither receiving nor committing waits for them.
 *
 * Its database handle is a second one on the database that the main thread opened first and closes last.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { Board } from '../board.ts'
import { nodeFiles } from '../files.ts'
import { PackReader } from '../pack.ts'
import { LogReader, openDatabase } from '../store/log-store.ts'
import { threadCpuSeconds } from '../threads.ts'
import type { ProcessUse } from './metrics.ts'
import type { ApiCommand, ApiMessage, ApiOptions } from './options.ts'
import { createServer } from './server.ts'

async function start(options: ApiOptions, port: MessagePort): Promise<void> {
  const send = (message: ApiMessage): void => port.postMessage(message)
  const database = await openDatabase(options.logDirectory, 'open')
  const packs = new PackReader({ directory: options.packsDirectory, files: nodeFiles })
  const app = await createServer({
    reader: new LogReader(database, packs),
    packs,
    board: new Board(options.board),
    key: parseVerifierKey(options.key),
    version: options.version,
    now: Date.now,
    use: processUse,
    onError: (error, request) =>
      send({
        type: 'log',
        level: 'error',
        fields: { ...request, err: describeError(error) },
        message: 'api: failed',
      }),
  })
  const stop = async (): Promise<void> => {
    const late = setTimeout(() => app.server.closeAllConnections(), options.graceMillis)
    await app.close()
    clearTimeout(late)
    packs.close()
    await database.close()
    port.close()
  }
  port.on('message', (command: ApiCommand) => {
    if (command.type === 'close') void stop()
  })
  const endpoint = await app.listen({ host: options.host, port: options.port })
  send({ type: 'ready', endpoint })
}

function processUse(): ProcessUse {
  const cpu = process.cpuUsage()
  return {
    cpuSeconds: (cpu.user + cpu.system) / 1e6,
    threadCpuSeconds: threadCpuSeconds(),
    residentBytes: process.memoryUsage.rss(),
    uptimeSeconds: process.uptime(),
  }
}

/** An error as it can be cloned: class, message and stack. */
function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) }
  const { name, message, stack } = error
  return { type: name, message, stack }
}

if (parentPort !== null) await start(workerData as ApiOptions, parentPort)
