/**
 * Ports for servers that cannot be told to take any free one.
 *
 * They are below the range out of which the system gives ports to sockets that ask for none (from 32,768 on Linux, ip(7)),
 * so that no test that runs beside takes one between here and the start of the server.
 */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** The first of `count` ports in a row of loopback that nobody listens on. */
export async function freePort(count = 1): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    const first = randomInt(20_000, 32_000 - count)
    const free = await Promise.all(Array.from({ length: count }, (_, at) => isFree(first + at)))
    if (free.every(Boolean)) return first
  }
  throw new Error('no free port in 100 tries')
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch {
    return false
  }
  server.close()
  await once(server, 'close')
  return true
}
