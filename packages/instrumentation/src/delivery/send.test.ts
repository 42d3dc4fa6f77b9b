import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { createSender } from './send.ts'

const TAKEN = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nRootspan-Receipt: 7\r\n\r\n'
const closing: (() => void)[] = []

afterEach(() => {
  for (const close of closing.splice(0)) close()
})

/** A receiver that calls `take` with each request's number on its connection. */
async function receiver(take: (socket: Socket, number: number, connection: number) => void) {
  let connections = 0
  const server = createServer((socket) => {
    const connection = ++connections
    let requests = 0
    let text = ''
    socket.on('error', () => {})
    socket.on('data', (part) => {
      text += part.toString('latin1')
      if (!text.endsWith('spans')) return
      text = ''
      take(socket, ++requests, connection)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const url = new URL(`http://127.0.0.1:${port}/v1/traces`)
  const sender = createSender({ url, headers: {}, timeoutMillis: 5000, isGrpc: false, tls: {} })
  closing.push(() => {
    sender.close()
    server.close()
  })
  return sender
}

const spans = Buffer.from('spans')

test('a request on a connection that was closed meanwhile is made on another one', async () => {
  const seen: string[] = []
  const sender = await receiver((socket, number, connection) => {
    seen.push(`${connection}.${number}`)
    if (connection === 1 && number === 2) socket.resetAndDestroy()
    else socket.write(TAKEN)
  })
  const taken = { is: 'taken', position: '7', rejected: 0 }
  expect(await sender.send(spans)).toEqual(taken)
  expect(await sender.send(spans)).toEqual(taken)
  expect(seen).toEqual(['1.1', '1.2', '2.1'])
})

test('a connection that is new and breaks is for later', async () => {
  const sender = await receiver((socket) => socket.resetAndDestroy())
  expect(await sender.send(spans)).toEqual({ is: 'later', afterMillis: undefined, why: 'ECONNRESET' })
})

test('an answer that breaks off is for later, and is not asked for again', async () => {
  let requests = 0
  const sender = await receiver((socket, number) => {
    requests++
    if (number === 1) socket.write(TAKEN)
    else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', () => socket.end())
  })
  expect((await sender.send(spans)).is).toBe('taken')
  expect(await sender.send(spans)).toMatchObject({ is: 'later' })
  expect(requests).toBe(2)
})
