import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const MODULE = join(import.meta.dirname, 'send-at-exit.ts')

/** A process that sends requests of these sizes as it exits; what it printed, and how it ended. */
async function exiting(url: string, sizes: readonly number[], millis: number) {
  const code = `
    const { sendAtExit } = await import(${JSON.stringify(MODULE)})
    process.on('exit', () => {
      const bodies = ${JSON.stringify(sizes)}.map((size) => Buffer.alloc(size, 'x'))
      const begin = Date.now()
      const endpoint = { isGrpc: false, url: new URL(${JSON.stringify(url)}), headers: { 'x-key': 'k' }, timeoutMillis: 1, tls: {} }
      console.log(JSON.stringify({ taken: sendAtExit(endpoint, bodies, ${millis}), millis: Date.now() - begin }))
    })
    process.exit(7)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (part) => {
    output += part
  })
  const [status] = await once(child, 'close')
  return { status, ...(JSON.parse(output) as { taken: boolean; millis: number }) }
}

async function listening(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`
}

test('what waits arrives although the process has called process.exit', async () => {
  const got: string[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const part of request) body += part
    got.push(`${request.headers['x-key']} ${request.headers['content-type']} ${body.length}`)
    response.end()
  })
  const url = await listening(server)
  expect(await exiting(url, [5, 2_000_000], 20_000)).toMatchObject({ status: 7, taken: true })
  expect(got).toEqual(['k application/x-protobuf 5', 'k application/x-protobuf 2000000'])
  server.close()
})

test('a server that is not there, refuses, or never answers does not hold the process up', async () => {
  expect(await exiting('http://127.0.0.1:1/', [1], 20_000)).toMatchObject({ status: 7, taken: false })
  const refusing = createServer((_, response) => response.writeHead(503).end())
  const url = await listening(refusing)
  expect(await exiting(url, [1, 1], 20_000)).toMatchObject({ status: 7, taken: false })
  refusing.close()
  const silent = createServer(() => {})
  const silentUrl = await listening(silent)
  const { status, taken, millis } = await exiting(silentUrl, [1], 500)
  expect({ status, taken }).toEqual({ status: 7, taken: false })
  expect(millis).toBeGreaterThanOrEqual(500)
  silent.closeAllConnections()
  silent.close()
})
