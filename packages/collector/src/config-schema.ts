/**
 * The configuration's schema: every setting with its default, its bounds and what it does. The reference page, the
 * JSON Schema and `rootspan config` all come from here.
 */
import { isAbsolute, relative, resolve, sep } from 'node:path'
import * as z from 'zod'
import { duration, endpoint, formatEndpoint, formatSize, isLoopback, size } from './config-units.ts'
import { findOriginProblem } from './origin.ts'

const flag = () => z.boolean({ error: 'expected true or false' })

const directory = () => z.string({ error: 'expected a path' }).min(1, 'expected a path')

const count = (min: number, max: number) =>
  z
    .number({ error: `expected a whole number from ${min} to ${max}` })
    .int(`expected a whole number from ${min} to ${max}`)
    .min(min, `expected a whole number from ${min} to ${max}`)
    .max(max, `expected a whole number from ${min} to ${max}`)

/** One of some words. The error names them. */
const oneOf = <const T extends readonly [string, ...string[]]>(words: T) =>
  z.enum(words, { error: `expected one of ${words.join(', ')}` })

const allowRemote = () =>
  flag()
    .prefault(false)
    .describe(
      'Allow an endpoint that other machines can reach. Nothing is encrypted yet, and nobody but senders is authenticated: set it only where a firewall, a private network or a proxy decides who may connect.',
    )

const text = () =>
  z
    .string({ error: 'expected text' })
    .min(1, 'expected text')
    .max(2048, 'expected at most 2048 characters')
    .optional()

function isHttps(url: string): boolean {
  return URL.canParse(url) && new URL(url).protocol === 'https:'
}

const enabled = (what: string) => flag().prefault(true).describe(`Whether to start ${what}.`)

const receiver = (what: string, address: string) =>
  section({
    enabled: enabled(what),
    endpoint: endpoint()
      .prefault(address)
      .describe(`Where ${what} listens, as host:port. Port 0 takes any free one.`),
    allow_remote: allowRemote(),
    max_request_bytes: size('1KiB', '256MiB')
      .prefault('64MiB')
      .describe('Largest request, before and after decompression. What is larger is refused for good.'),
  })

const pushed = (what: string, path: string, more: string) => ({
  enabled: flag()
    .prefault(false)
    .describe(`Whether to take ${what}, on the endpoint of the OTLP/HTTP receiver.`),
  path: z
    .string({ error: 'expected a path' })
    .regex(/^(?:\/[A-Za-z0-9._~-]+)+$/, 'expected a path such as /opa/logs')
    .prefault(path)
    .describe(`Where ${what} are posted. ${more}`),
  token_file: directory()
    .optional()
    .describe('The file with the bearer token that must be sent, of at least 16 characters. Required.'),
})

const names = () =>
  z
    .array(z.string({ error: 'expected a name' }).min(1, 'expected a name'), {
      error: 'expected a list of names',
    })
    .prefault([])

const CLASS_NAME = 'expected up to 32 lower-case letters and digits, a letter first'

const retentionClass = z.strictObject({
  name: z
    .string({ error: CLASS_NAME })
    .regex(/^[a-z][a-z0-9]{0,31}$/, CLASS_NAME)
    .refine((name) => name !== 'default' && name !== 'records', 'is a name that is taken'),
  days: count(1, 36_500),
  services: names(),
  // The one tenant that there is so far has no name.
  tenants: z
    .array(z.string({ error: 'expected a name' }), { error: 'expected a list of names' })
    .prefault([]),
  by_attribute: flag().prefault(false),
})

/** What a journal segment must hold beside the largest request. */
const FRAME_ROOM = 128 * 1024

const settings = section({
  storage: section({
    directory: directory()
      .prefault('./rootspan-data')
      .describe(
        'The data directory: journal, log, packs and quarantine. On a local disk that honours fdatasync.',
      ),
  }).describe('Where data is kept. Paths are relative to the working directory.'),
  signer: section({
    directory: directory()
      .prefault('./rootspan-signer')
      .describe(
        "The signer's private key and its memory of what it signed. Never copied, restored or snapshotted together with the data directory: it is what notices that an old copy came back.",
      ),
  }).describe('Where the private key is kept.'),
  log: section({
    origin: z
      .string({ error: 'expected an origin such as logs.example.com/prod/v0' })
      .superRefine((origin, context) => {
        const problem = findOriginProblem(origin)
        if (problem !== undefined) context.addIssue({ code: 'custom', message: `the origin ${problem}` })
      })
      .optional()
      .describe(
        "The log's name. Decided by rootspan init and kept in log.json; where it is given here, too, the two must agree.",
      ),
    checkpoint_interval: duration('10ms', '1h')
      .prefault('1s')
      .describe('How often the tree is signed and published, if it grew.'),
  }).describe('The transparency log.'),
  receivers: section({
    grpc: receiver('the OTLP/gRPC receiver', '127.0.0.1:4317').describe('OTLP over gRPC.'),
    http: receiver('the OTLP/HTTP receiver', '127.0.0.1:4318').describe(
      'OTLP over HTTP, as protobuf or JSON.',
    ),
    opa: section({
      ...pushed(
        "OPA's decision logs",
        '/opa/logs',
        'OPA posts to /logs under the URL of its service, which is then that of the receiver and /opa.',
      ),
      peer: z
        .string({ error: 'expected a name' })
        .min(1, 'expected a name')
        .max(255, 'expected a name of at most 255 characters')
        .prefault('opa')
        .describe('Who holds the token, as receipts name it.'),
      max_request_bytes: size('1KiB', '64MiB')
        .prefault('8MiB')
        .describe('Largest upload, before and after decompression.'),
    }).describe('Decision logs of Open Policy Agent.'),
    ssf: section({
      ...pushed(
        'security event tokens',
        '/ssf/events',
        'The push endpoint that the stream is configured with.',
      ),
      issuer: text().describe('The transmitter: the issuer that every token must have. Required.'),
      audience: text().describe('The audience that every token must have: the one of the stream. Required.'),
      jwks_file: directory()
        .optional()
        .describe(
          'A file with the JSON Web Key Set of the transmitter. Either this or jwks_url is required.',
        ),
      jwks_url: text()
        .refine((url) => url === undefined || isHttps(url), 'expected an https URL')
        .describe(
          'The https URL of it, from which keys are fetched when they are needed, and kept for ten minutes.',
        ),
      fingerprint_key_file: directory()
        .optional()
        .describe(
          'The file with the fingerprint key of the services, so that a subject or session that is revoked can be recognised on their spans. Without it subjects are kept as they are sent.',
        ),
    }).describe('Revocations by the Shared Signals Framework.'),
    senders_file: directory()
      .optional()
      .describe(
        'A file with the name and the bearer token of each sender of OTLP, a line each. Who sends none of these tokens is refused; receipts name the sender. Without it anybody may send, and nobody is authenticated.',
      ),
    in_flight_bytes: size('1MiB', '64GiB')
      .prefault('256MiB')
      .describe(
        'Memory for requests that are being received or wait for the disk, over all receivers. Past it, senders are pushed back.',
      ),
  }).describe('Where spans come in.'),
  api: section({
    enabled: enabled('the HTTP API'),
    endpoint: endpoint()
      .prefault('127.0.0.1:4320')
      .describe('Where the HTTP API listens: log, executions, evidence, health and metrics.'),
    allow_remote: allowRemote(),
  }).describe('The HTTP API.'),
  journal: section({
    segment_bytes: size('64KiB', '4GiB')
      .prefault('128MiB')
      .describe('Size of one journal file. Must be at least 128 KiB over the largest request.'),
    max_bytes: size('1MiB', '64TiB')
      .prefault('16GiB')
      .describe('Size of the whole journal. Past it, senders are pushed back.'),
    min_free_bytes: size('0B', '64TiB')
      .prefault('512MiB')
      .describe(
        'Push senders back when less than this would stay free on the disk: the reserve for commits.',
      ),
    max_lag_bytes: size('1MiB', '64TiB')
      .prefault('64MiB')
      .describe(
        'Let requests wait, and push back those that waited for a second, while more than this is received and not read by the assembler yet. No more than this is taken in a second.',
      ),
  }).describe('What was received and is not committed yet.'),
  quarantine: section({
    max_bytes: size('0B', '64GiB')
      .prefault('64MiB')
      .describe('Bad spans of good requests are kept up to this size, the newest ones.'),
  }).describe('Spans that were refused.'),
  assembler: section({
    quiet_period: duration('1ms', '1h')
      .prefault('5s')
      .describe('A trace whose spans have all ended settles after this long without another span.'),
    max_age: duration('10ms', '24h')
      .prefault('1m')
      .describe(
        'A trace that has not settled after this long is cut into a segment. Until then the journal keeps all that came since its first span: with hours, mind `journal.max_bytes`.',
      ),
    max_open_spans: count(1, 100_000_000)
      .prefault(500_000)
      .describe(
        'Spans of open traces in memory. Past it those that wait for a missing parent are cut, and nothing more is read until some have settled.',
      ),
    max_segment_spans: count(1, 1_000_000)
      .prefault(131_072)
      .describe(
        'Spans in one segment. A larger trace is cut into several; a request with more of one trace, and with over 131,072, is refused for good.',
      ),
  }).describe('How spans are gathered into traces.'),
  packs: section({
    max_bytes: size('64KiB', '64GiB')
      .prefault('1GiB')
      .describe('Size of one pack file, which holds the payloads of many segments.'),
    compression_level: count(1, 9)
      .prefault(1)
      .describe('Compression of payloads: 1 is the fastest, 9 the smallest.'),
  }).describe('Where payloads are kept.'),
  retention: section({
    days: count(0, 36_500)
      .prefault(0)
      .describe('How many days payloads are kept, 0 for ever. Their commitments stay in the log.'),
    classes: z
      .array(retentionClass, { error: 'expected a list of classes' })
      .max(64, 'expected at most 64 classes')
      .prefault([])
      .describe(
        'Executions that are kept for another time: a list of name, days, and which: services, tenants, or by_attribute for those whose resource says governance.retention.class. The first that fits counts.',
      ),
    check_interval: duration('1m', '168h')
      .prefault('1h')
      .describe('How often it is looked for packs that have expired, beside at the start.'),
  }).describe('How long payloads are kept.'),
  shutdown: section({
    grace_period: duration('0s', '1h')
      .prefault('10s')
      .describe(
        'How long requests under way and open traces get to finish at a shutdown. What is not committed then stays in the journal.',
      ),
  }).describe('What happens at SIGTERM and SIGINT.'),
  logs: section({
    level: oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
      .prefault('info')
      .describe('The least severe messages that are logged.'),
    format: oneOf(['auto', 'json', 'pretty'])
      .prefault('auto')
      .describe('How they are written: auto is pretty on a terminal and JSON elsewhere.'),
  }).describe("The collector's own messages."),
})

/** The configuration with the names of the file, decoded. */
export type RawConfig = z.output<typeof settings>

/** The schema of the YAML file. Decodes sizes to bytes and durations to milliseconds; encodes them back. */
export const configSchema = settings.superRefine(checkTogether)

/** A table of settings: unknown ones are refused, missing ones have their defaults. */
function section<T extends z.core.$ZodLooseShape>(shape: T) {
  return z.strictObject(shape).prefault({} as never)
}

/** What one setting's own bounds cannot say. */
function checkTogether(config: RawConfig, context: z.RefinementCtx): void {
  const fail = (path: string, message: string) =>
    context.addIssue({ code: 'custom', path: path.split('.'), message })
  const { grpc, http } = config.receivers
  checkPushed(config, fail)
  const listeners = { 'receivers.grpc': grpc, 'receivers.http': http, api: config.api }
  const taken = new Map<string, string>()
  for (const [name, listener] of Object.entries(listeners)) {
    if (!listener.enabled) continue
    const { host, port } = listener.endpoint
    const address = formatEndpoint(listener.endpoint)
    if (!isLoopback(host) && !listener.allow_remote)
      fail(
        `${name}.endpoint`,
        `other machines could reach ${address}, and nothing is encrypted yet, nor anybody but senders authenticated; use 127.0.0.1, or set ${name}.allow_remote: true where a firewall or proxy decides who may connect`,
      )
    const other = taken.get(address)
    if (other !== undefined && port !== 0)
      fail(`${name}.endpoint`, `${address} is the endpoint of ${other} already`)
    taken.set(address, name)
  }
  for (const [name, { max_request_bytes: most }] of Object.entries({ grpc, http })) {
    if (most > config.receivers.in_flight_bytes)
      fail(`receivers.${name}.max_request_bytes`, 'is over receivers.in_flight_bytes')
    if (most + FRAME_ROOM > config.journal.segment_bytes)
      fail(`receivers.${name}.max_request_bytes`, 'is not at least 128 KiB below journal.segment_bytes')
  }
  const { journal, assembler } = config
  if (journal.max_bytes < 2 * journal.segment_bytes)
    fail('journal.max_bytes', `is below two segments, which are ${formatSize(2 * journal.segment_bytes)}`)
  if (assembler.quiet_period > assembler.max_age) fail('assembler.quiet_period', 'is over assembler.max_age')
  if (assembler.max_segment_spans > assembler.max_open_spans)
    fail('assembler.max_segment_spans', 'is over assembler.max_open_spans')
  if (isWithin(config.storage.directory, config.signer.directory))
    fail('signer.directory', 'lies in storage.directory: an old copy of the data would bring its own memory')
  else if (isWithin(config.signer.directory, config.storage.directory))
    fail('storage.directory', 'lies in signer.directory: a copy of the signer would bring old data')
}

/** Nothing is taken without credentials to compare with. */
function checkPushed(config: RawConfig, fail: (path: string, message: string) => void): void {
  const { opa, ssf, http } = config.receivers
  const paths = new Set(['/v1/traces', '/v1/metrics', '/v1/logs'])
  for (const [name, route] of Object.entries({ opa, ssf })) {
    if (!route.enabled) continue
    const place = `receivers.${name}`
    if (!http.enabled) fail(`${place}.enabled`, 'needs receivers.http, which is not enabled')
    if (route.token_file === undefined)
      fail(`${place}.token_file`, 'is required: nothing is taken without a token')
    if (paths.has(route.path)) fail(`${place}.path`, `${route.path} is taken already`)
    paths.add(route.path)
  }
  if (!ssf.enabled) return
  for (const name of ['issuer', 'audience'] as const)
    if (ssf[name] === undefined)
      fail(`receivers.ssf.${name}`, 'is required: tokens of anybody else are refused')
  if ((ssf.jwks_file === undefined) === (ssf.jwks_url === undefined))
    fail('receivers.ssf.jwks_file', 'either this or receivers.ssf.jwks_url is required, and not both')
}

/** Whether a path is a directory or lies below it. */
function isWithin(directory: string, path: string): boolean {
  const way = relative(resolve(directory), resolve(path))
  return way === '' || (way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way))
}
