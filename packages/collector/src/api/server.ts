/**
 * The HTTP API: the log for C2SP readers, executions and their evidence, health and metrics.
 *
 * `createServer` makes it out of readers and the board and binds no port; `inject` serves tests. It writes nothing,
 * and what it shows of the log is what the latest signed checkpoint covers. Its bounds: GET and HEAD only, no
 * bodies, bounded parameters and pages, evidence written piece by piece, every socket and response timed.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import swagger from '@fastify/swagger'
import type { VerifierKey } from '@rootspan/lineage/tlog/key'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifySchema,
} from 'fastify'
import { z } from 'zod'
import type { Board } from '../board.ts'
import type { PackReader } from '../pack.ts'
import type { LogReader } from '../store/log-store.ts'
import { ApiError, errorBody } from './errors.ts'
import { Payloads } from './evidence.ts'
import { executionRoutes } from './execution-routes.ts'
import { judgementRoutes } from './judgement-routes.ts'
import { logRoutes } from './log-routes.ts'
import type { ProcessUse } from './metrics.ts'
import { operateRoutes } from './operate-routes.ts'
import { PublishedLog } from './published.ts'
import { Failure, jsonSchema, type ZodTypes } from './schema.ts'

/** What the API reads from. It owns none of it. */
export interface ApiDependencies {
  readonly reader: LogReader
  readonly packs: Pick<PackReader, 'read'>
  readonly board: Board
  /** The log's key; its name is the origin. */
  readonly key: VerifierKey
  /** Version of the collector. */
  readonly version: string
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** What the process has used so far. */
  readonly use: () => ProcessUse
  /** Told of every failure that a client sees as 500. */
  readonly onError: (error: unknown, request: { readonly method: string; readonly url: string }) => void
}

/** What every route works with. */
export interface Api extends ApiDependencies {
  readonly published: PublishedLog
  readonly payloads: Payloads
}

export type ApiServer = FastifyInstance<Server, IncomingMessage, ServerResponse, FastifyBaseLogger, ZodTypes>

const MAX_HEADER_BYTES = 16 * 1024
const MAX_CONNECTIONS = 256
/** A request's head has this long to arrive, and a socket may be still for as long, in milliseconds. */
const REQUEST_MILLIS = 10_000
const IDLE_MILLIS = 30_000
/** An answer that was not taken after this long is cut off. The largest bundle needs about 1 MB/s. */
const RESPONSE_MILLIS = 600_000

const HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
} as const

/** The API, without a port. Call `listen` or `inject`, and `close`. */
export async function createServer(dependencies: ApiDependencies): Promise<ApiServer> {
  const { reader, board, key, packs } = dependencies
  const api: Api = {
    ...dependencies,
    published: new PublishedLog(reader, board, key),
    payloads: new Payloads(packs),
  }
  const app = Fastify({
    http: { maxHeaderSize: MAX_HEADER_BYTES },
    bodyLimit: 1024,
    requestTimeout: REQUEST_MILLIS,
    connectionTimeout: IDLE_MILLIS,
    keepAliveTimeout: IDLE_MILLIS,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 64 },
    // A path that is none comes here without any hook.
    frameworkErrors: (error, _, reply) =>
      refuse(reply.headers(HEADERS) as unknown as FastifyReply, ofFastify(error)),
  }).withTypeProvider<ZodTypes>()
  app.server.maxConnections = MAX_CONNECTIONS
  app.setValidatorCompiler<z.ZodType>(({ schema }) => (data) => {
    const { success, data: value, error } = schema.safeParse(data)
    return success ? { value } : { error: badParameter(error) }
  })
  app.setSerializerCompiler(() => JSON.stringify)
  guard(app, api)
  await describe(app, dependencies.version)
  await app.register(async (scope) => {
    logRoutes(scope.withTypeProvider<ZodTypes>(), api)
    executionRoutes(scope.withTypeProvider<ZodTypes>(), api)
    judgementRoutes(scope.withTypeProvider<ZodTypes>(), api)
    operateRoutes(scope.withTypeProvider<ZodTypes>(), api)
  })
  return app
}

/** Headers, methods, errors and the time limit that all routes share. */
function guard(app: ApiServer, { onError }: Api): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(HEADERS)
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      reply.header('allow', 'GET, HEAD')
      throw new ApiError(405, 'method_not_allowed', `there is no ${request.method} here`, 'Use GET or HEAD.')
    }
    const timer = setTimeout(() => request.raw.destroy(), RESPONSE_MILLIS)
    timer.unref()
    reply.raw.once('close', () => clearTimeout(timer))
  })
  app.setNotFoundHandler(() => {
    throw new ApiError(
      404,
      'not_found',
      'there is nothing at this path',
      'GET /openapi.json lists what there is.',
    )
  })
  app.setErrorHandler((error, request, reply) => {
    const shown = error instanceof ApiError ? error : ofFastify(error)
    if (shown.status === 500) onError(error, { method: request.method, url: request.url })
    return refuse(reply, shown)
  })
}

function refuse(reply: FastifyReply, error: ApiError): FastifyReply {
  if (error.retryAfter !== undefined) reply.header('retry-after', String(error.retryAfter))
  return reply.code(error.status).type('application/json; charset=utf-8').send(errorBody(error))
}

/** Errors that are not ours: the framework's about the request keep their status, all others are bugs or damage. */
function ofFastify(error: unknown): ApiError {
  const status = (error as { statusCode?: unknown }).statusCode
  if (typeof status === 'number' && status >= 400 && status < 500)
    return new ApiError(
      status,
      'bad_request',
      (error as Error).message,
      'GET /openapi.json says which parameters there are.',
    )
  return new ApiError(
    500,
    'internal',
    'the collector failed to answer',
    'Its log says why. If a file is damaged, rootspan fsck names it.',
  )
}

function badParameter({ issues }: z.ZodError): ApiError {
  const [issue] = issues
  const name = issue?.path.join('.') ?? ''
  return new ApiError(
    400,
    'bad_parameter',
    name === '' ? (issue?.message ?? 'a parameter is wrong') : `${name}: ${issue!.message}`,
    'GET /openapi.json says which parameters there are.',
  )
}

async function describe(app: ApiServer, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Rootspan',
        version,
        description:
          'The log of a Rootspan collector, its executions and their evidence. Read-only. Verify what you get with rootspan-verify and your own policy.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: { schemas: { Failure: jsonSchema(Failure, 'output') } },
      tags: [
        { name: 'log', description: 'The transparency log, as C2SP tlog-tiles lays it out.' },
        { name: 'executions', description: 'Executions, their evidence and proofs.' },
        { name: 'continuity', description: 'Findings, and answers to the five questions.' },
        { name: 'receipts', description: 'Whether a request was committed.' },
        { name: 'operation', description: 'Health and metrics.' },
      ],
    },
    // OpenAPI has no name for the rest of a path: the parameter `path` of tiles may hold slashes.
    transform: ({ schema, url }) => ({
      schema: describeParameters(schema),
      url: url.replace(/\*$/, ':path'),
    }),
  })
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger())
}

/** A route's parameters out of zod; its answers are JSON Schema already. */
function describeParameters(schema: FastifySchema): FastifySchema {
  const described: FastifySchema = { ...schema }
  for (const part of ['params', 'querystring'] as const) {
    const zod = schema?.[part]
    if (zod instanceof z.ZodType) described[part] = jsonSchema(zod, 'input')
  }
  return described
}
