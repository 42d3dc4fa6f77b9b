/**
 * Where governed spans go: `ROOTSPAN_ENDPOINT`, an OTLP/HTTP URL, or the endpoint that the usual variables name, with
 * its protocol, headers and certificates (OpenTelemetry, OTLP Exporter Configuration).
 */
import { readFileSync } from 'node:fs'
import type { Config } from '../config.ts'
import type { Log } from '../log.ts'

export interface Endpoint {
  /** OTLP/gRPC; else OTLP/HTTP with protobuf. */
  readonly isGrpc: boolean
  /** Of the requests over HTTP; of the server over gRPC. */
  readonly url: URL
  /** May hold credentials: never said anywhere. */
  readonly headers: Readonly<Record<string, string>>
  /** For one request. */
  readonly timeoutMillis: number
  readonly tls: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer }
}

const PATH = 'v1/traces'
const DEFAULT = 'http://localhost:4318/'
const DEFAULT_GRPC = 'http://localhost:4317'
const DEFAULT_TIMEOUT_MILLIS = 10_000

/** Undefined, with a warning, where it is no URL. */
export function endpointOf(
  config: Pick<Config, 'endpoint'>,
  log: Log,
  env: NodeJS.ProcessEnv = process.env,
): Endpoint | undefined {
  const of = (name: string): string | undefined =>
    env[`OTEL_EXPORTER_OTLP_TRACES_${name}`]?.trim() || env[`OTEL_EXPORTER_OTLP_${name}`]?.trim() || undefined
  const isGrpc = config.endpoint === undefined && of('PROTOCOL') === 'grpc'
  let url: URL | null
  if (config.endpoint !== undefined) url = below(config.endpoint)
  else if (isGrpc) {
    const text = of('ENDPOINT') ?? DEFAULT_GRPC
    // gRPC's own form, `host:port`, says nothing of TLS.
    const scheme = of('INSECURE')?.toLowerCase() === 'true' ? 'http' : 'https'
    url = URL.parse(/^[\w.+-]+:\/\//.test(text) ? text : `${scheme}://${text}`)
  } else {
    const whole = env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?.trim()
    const base = URL.parse(env.OTEL_EXPORTER_OTLP_ENDPOINT?.trim() || DEFAULT)
    url = whole ? URL.parse(whole) : base && below(base)
  }
  if (url === null || !/^https?:$/.test(url.protocol)) {
    log.warn('the OTLP endpoint is no http or https URL: governed spans go through the SDK alone')
    return undefined
  }
  const timeout = Number(of('TIMEOUT'))
  return {
    isGrpc,
    url,
    headers: {
      ...headersOf(env.OTEL_EXPORTER_OTLP_HEADERS),
      ...headersOf(env.OTEL_EXPORTER_OTLP_TRACES_HEADERS),
    },
    timeoutMillis: timeout > 0 && timeout <= 600_000 ? timeout : DEFAULT_TIMEOUT_MILLIS,
    tls: {
      ...file('ca', of('CERTIFICATE'), log),
      ...file('cert', of('CLIENT_CERTIFICATE'), log),
      ...file('key', of('CLIENT_KEY'), log),
    },
  }
}

function below(base: URL): URL {
  const url = new URL(base)
  url.pathname = `${url.pathname.replace(/\/$/, '')}/${PATH}`
  return url
}

/** `name=value,name=value`, percent-encoded. What is not of this form is left out. */
function headersOf(text: string | undefined): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const pair of (text ?? '').split(',')) {
    const [name, ...value] = pair.split('=')
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name!.trim()) || value.length === 0) continue
    try {
      const plain = decodeURIComponent(value.join('=').trim())
      if (/^[\t\x20-\x7e\x80-\xff]*$/.test(plain)) headers[name!.trim().toLowerCase()] = plain
    } catch {
      // Not percent-encoded text.
    }
  }
  return headers
}

function file(name: 'ca' | 'cert' | 'key', path: string | undefined, log: Log): Endpoint['tls'] {
  if (path === undefined) return {}
  try {
    return { [name]: readFileSync(path) }
  } catch (error) {
    log.warn(`a file of OTEL_EXPORTER_OTLP_* cannot be read (${(error as NodeJS.ErrnoException).code})`)
    return {}
  }
}
