/** A lean OTLP client for load: it sends ready bytes and reads no more of the answers than it must. */
import { Agent, request as httpRequest } from 'node:http'
import http2 from 'node:http2'

export interface Answer {
  readonly ok: boolean
  /** Seconds to wait before sending again; 0 where the sender is not pushed back. */
  readonly retryAfter: number
}

export interface Client {
  send(body: Buffer): Promise<Answer>
  close(): void
}

/** OTLP/gRPC by hand: one HTTP/2 connection, requests framed once. */
export function grpcClient(host: string, port: number): Client {
  const session = http2.connect(`http://${host}:${port}`, { settings: { initialWindowSize: 1 << 20 } })
  session.on('error', () => {})
  const headers = {
    ':method': 'POST',
    ':path': '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
    'content-type': 'application/grpc',
    te: 'trailers',
  }
  return {
    send(body) {
      return new Promise((resolve, reject) => {
        const prefix = Buffer.alloc(5)
        prefix.writeUInt32BE(body.length, 1)
        const stream = session.request(headers)
        let status: string | undefined
        const note = (fields: http2.IncomingHttpHeaders): void => {
          status = (fields['grpc-status'] as string | undefined) ?? status
        }
        stream.on('response', note)
        stream.on('trailers', note)
        stream.on('error', reject)
        stream.on('close', () => resolve({ ok: status === '0', retryAfter: status === '0' ? 0 : 1 }))
        stream.resume()
        stream.write(prefix)
        stream.end(body)
      })
    },
    close: () => session.close(),
  }
}

/** OTLP/HTTP with protobuf over kept connections. */
export function httpClient(host: string, port: number): Client {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  return {
    send(body) {
      return new Promise((resolve, reject) => {
        const request = httpRequest({
          agent,
          host,
          port,
          method: 'POST',
          path: '/v1/traces',
          headers: { 'content-type': 'application/x-protobuf', 'content-length': body.length },
        })
        request.on('error', reject)
        request.on('response', (response) => {
          response.resume()
          response.on('error', reject)
          response.on('end', () => {
            const ok = response.statusCode === 200
            resolve({ ok, retryAfter: ok ? 0 : Number(response.headers['retry-after'] ?? 1) })
          })
        })
        request.end(body)
      })
    },
    close: () => agent.destroy(),
  }
}
