/** Durations, sizes and endpoints as people write them in the configuration. */
import { BlockList, isIP } from 'node:net'
import * as z from 'zod'

const DURATION_UNITS = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const
const SIZE_UNITS = { TiB: 2 ** 40, GiB: 2 ** 30, MiB: 2 ** 20, KiB: 2 ** 10, B: 1 } as const

const DURATION = /^(0|[1-9][0-9]{0,8})(ms|s|m|h)$/
const SIZE = /^(0|[1-9][0-9]{0,15})(B|KiB|MiB|GiB|TiB)$/

/** A host and a port to listen on. */
export interface Endpoint {
  /** An IP address without brackets, or a name. */
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
}

/** Milliseconds of `250ms`, `5s`, `1m`, `2h`; undefined when it is no duration. */
function parseDuration(text: string): number | undefined {
  const [, count, unit] = DURATION.exec(text) ?? []
  if (count === undefined || unit === undefined) return undefined
  return Number(count) * DURATION_UNITS[unit as keyof typeof DURATION_UNITS]
}

/** The shortest text of whole milliseconds. */
function formatDuration(millis: number): string {
  return formatUnits(millis, DURATION_UNITS)
}

/** Bytes of `64MiB`, `1GiB`, `512B`; undefined when it is no size. Powers of 1024 only, so that nobody has to guess. */
function parseSize(text: string): number | undefined {
  const [, count, unit] = SIZE.exec(text) ?? []
  if (count === undefined || unit === undefined) return undefined
  const bytes = Number(count) * SIZE_UNITS[unit as keyof typeof SIZE_UNITS]
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** The shortest text of whole bytes. */
export function formatSize(bytes: number): string {
  return formatUnits(bytes, SIZE_UNITS)
}

/** Host and port of `127.0.0.1:4317`, `[::1]:4317`, `localhost:4317`; undefined when it is no endpoint. */
function parseEndpoint(text: string): Endpoint | undefined {
  const [, bracketed, plain, digits] =
    /^(?:\[([^[\]]+)\]|([A-Za-z0-9.-]+)):(0|[1-9][0-9]{0,4})$/.exec(text) ?? []
  const port = Number(digits)
  const host = bracketed ?? plain
  if (host === undefined || port > 65_535) return undefined
  if (bracketed !== undefined && isIP(bracketed) !== 6) return undefined
  return { host, port }
}

/** `host:port`, with brackets around an IPv6 address. */
export function formatEndpoint({ host, port }: Endpoint): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
}

/** Whether only this machine can reach what listens on a host: 127.0.0.0/8, ::1 and `localhost`. */
export function isLoopback(host: string): boolean {
  const loopback = new BlockList()
  loopback.addSubnet('127.0.0.0', 8, 'ipv4')
  loopback.addAddress('::1', 'ipv6')
  const family = isIP(host)
  if (family === 0) return host.toLowerCase() === 'localhost'
  return loopback.check(host, family === 4 ? 'ipv4' : 'ipv6')
}

/** A duration in the schema, from `min` to `max`, both as text. Decodes to milliseconds. */
export function duration(min: string, max: string) {
  const [least, most] = [parseDuration(min)!, parseDuration(max)!]
  const text = z
    .string({ error: 'expected a duration such as 250ms, 5s or 1m' })
    .regex(DURATION, { error: 'expected a duration such as 250ms, 5s or 1m', abort: true })
    .refine((value) => isWithin(parseDuration(value), least, most), {
      error: `expected a duration from ${min} to ${max}`,
      abort: true,
    })
  return z.codec(text, z.number(), { decode: (value) => parseDuration(value)!, encode: formatDuration })
}

/** A size in the schema, from `min` to `max`, both as text. Decodes to bytes. */
export function size(min: string, max: string) {
  const [least, most] = [parseSize(min)!, parseSize(max)!]
  const text = z
    .string({ error: 'expected a size such as 64MiB or 1GiB' })
    .regex(SIZE, { error: 'expected a size such as 64MiB or 1GiB', abort: true })
    .refine((value) => isWithin(parseSize(value), least, most), {
      error: `expected a size from ${min} to ${max}`,
      abort: true,
    })
  return z.codec(text, z.number(), { decode: (value) => parseSize(value)!, encode: formatSize })
}

/** An endpoint in the schema. Decodes to host and port. */
export function endpoint() {
  const text = z
    .string({ error: 'expected host:port, such as 127.0.0.1:4317' })
    .refine((value) => parseEndpoint(value) !== undefined, {
      error: ({ input }) => findEndpointProblem(String(input)),
      abort: true,
    })
  const parts = z.object({ host: z.string(), port: z.number() })
  return z.codec(text, parts, { decode: (value) => parseEndpoint(value)!, encode: formatEndpoint })
}

function findEndpointProblem(text: string): string {
  if (text.includes('://')) return 'expected host:port without a scheme, such as 127.0.0.1:4317'
  if (text.startsWith(':')) return `expected a host before ${text}; all interfaces are 0.0.0.0${text}`
  return 'expected host:port, such as 127.0.0.1:4317 or [::1]:4317'
}

function isWithin(value: number | undefined, min: number, max: number): boolean {
  return value !== undefined && value >= min && value <= max
}

function formatUnits(value: number, units: Readonly<Record<string, number>>): string {
  const smallest = Object.keys(units).at(-1)!
  const unit = value === 0 ? smallest : Object.keys(units).find((name) => value % units[name]! === 0)!
  return `${value / units[unit]!}${unit}`
}
