/** Serves a log in memory over HTTP as a collector does, for tests of whoever reads logs. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestLog } from './executions.ts'

export interface LogServer {
  /** The log's prefix, without a slash at its end. */
  readonly url: string
  /** Paths that were asked for, below the prefix. */
  readonly asked: string[]
  close(): Promise<void>
}

export interface LogServerOptions {
  /** Without kept checkpoints, as other people's logs are. */
  readonly plain?: boolean
  /** Answers in another way, when it returns true. `path` is below the prefix. */
  readonly intercept?: (path: string, request: IncomingMessage, response: ServerResponse) => boolean
}

const PREFIX = '/log/'

/** Serves the files of the tree as it is now, and the checkpoints so far. */
export async function serveLog(log: TestLog, options: LogServerOptions = {}): Promise<LogServer> {
  const files = log.files()
  const sizes = [...log.checkpoints.keys()].sort((a, b) => a - b)
  const asked: string[] = []
  const server = createServer((request, response) => {
    const url = new URL(request.url!, 'http://localhost')
    const path = url.pathname.slice(PREFIX.length)
    asked.push(path)
    if (options.intercept?.(path, request, response)) return
    if (path === 'checkpoints' && options.plain !== true) {
      const from = Number(url.searchParams.get('from') ?? 0)
      const limit = Number(url.searchParams.get('limit') ?? 1000)
      const page = sizes.filter((size) => size >= from)
      const next = page[limit]
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ sizes: page.slice(0, limit), ...(next === undefined ? {} : { next }) }))
      return
    }
    const bytes = options.plain === true && path.startsWith('checkpoint/') ? undefined : files.get(path)
    if (bytes === undefined) response.statusCode = 404
    response.end(bytes)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/log`,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
