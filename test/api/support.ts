/** What the tests of the API share. */

import { Failure } from '../../packages/collector/src/api/schema.ts'
import { type ApiServer, createServer } from '../../packages/collector/src/api/server.ts'
import type { StoredLog } from '../support/stored-log.ts'

export interface ApiFailure {
  readonly error: unknown
  readonly url: string
}

/** The API over a log, without a port. Failures that clients see as 500 are collected. */
export function apiOf(log: StoredLog, failures: ApiFailure[] = []): Promise<ApiServer> {
  return createServer({
    reader: log.reader,
    packs: log.packs,
    board: log.board,
    key: log.key.verifier,
    version: '1.2.3',
    now: () => 1_767_323_045_000,
    use: () => ({ cpuSeconds: 1.5, threadCpuSeconds: 0.25, residentBytes: 4096, uptimeSeconds: 60 }),
    onError: (error, { url }) => failures.push({ error, url }),
  })
}

/** The body of an error; throws where it has not exactly the shape that errors have. */
export function errorOf(response: { json(): unknown }): { code: string; message: string; next: string } {
  return Failure.parse(response.json()).error
}
