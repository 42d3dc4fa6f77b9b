/** `/log`: the log as C2SP tlog-tiles lays it out, its kept checkpoints, and its own word on its key. */
import { formatPolicy, policyOfLogs } from '@rootspan/lineage/tlog/policy'
import type { FastifyReply } from 'fastify'
import { ApiError } from './errors.ts'
import { Checkpoints, CheckpointsQuery, content, failures, json, SizeParams } from './schema.ts'
import type { Api, ApiServer } from './server.ts'

const CHECKPOINT_TYPE = 'text/plain; charset=utf-8'
const TILE_TYPE = 'application/octet-stream'
const IMMUTABLE = 'max-age=31536000, immutable'
const PAGE = 1000

const TAGS = ['log']

export function logRoutes(app: ApiServer, { published, key }: Api): void {
  app.get(
    '/log/checkpoint',
    {
      schema: {
        tags: TAGS,
        operationId: 'getCheckpoint',
        summary: 'The latest signed checkpoint',
        description: 'A signed note (c2sp.org/tlog-checkpoint). Tiles and entries below its size are served.',
        response: { 200: content('text/plain', 'the checkpoint'), ...failures(404) },
      },
    },
    async (_, reply) => {
      const latest = await published.latest()
      if (latest === undefined)
        throw new ApiError(
          404,
          'no_checkpoint',
          'nothing is signed yet',
          'Send a trace: it is committed when it has been quiet for a while, and signed within a second.',
        )
      return reply.type(CHECKPOINT_TYPE).header('cache-control', 'max-age=1').send(latest.note)
    },
  )

  app.get(
    '/log/checkpoints',
    {
      schema: {
        tags: TAGS,
        operationId: 'listCheckpoints',
        summary: 'Sizes of all kept checkpoints, ascending',
        querystring: CheckpointsQuery,
        response: { 200: json(Checkpoints, 'one page of sizes'), ...failures(400) },
      },
    },
    async ({ query: { from = 0, limit = PAGE } }) => published.sizes(from, limit),
  )

  app.get(
    '/log/checkpoint/:size',
    {
      schema: {
        tags: TAGS,
        operationId: 'getCheckpointOfSize',
        summary: 'A kept checkpoint by its tree size',
        params: SizeParams,
        response: { 200: content('text/plain', 'the checkpoint'), ...failures(400, 404) },
      },
    },
    async ({ params }, reply) => {
      const note = await published.checkpoint(params.size)
      if (note === undefined)
        throw new ApiError(
          404,
          'no_checkpoint',
          `no checkpoint of size ${params.size} is kept`,
          'GET /log/checkpoints lists the sizes of those that are.',
        )
      return reply.type(CHECKPOINT_TYPE).header('cache-control', IMMUTABLE).send(note)
    },
  )

  // The path is parsed as it was sent: an escape is another spelling, and paths of tiles have one.
  const serve = async (url: string, reply: FastifyReply): Promise<FastifyReply> => {
    const bytes = await published.read(url.slice('/log/'.length))
    if (bytes === undefined)
      throw new ApiError(
        404,
        'not_covered',
        'the latest checkpoint covers no such tile or entry bundle',
        'GET /log/checkpoint says how large the tree is; paths are those of c2sp.org/tlog-tiles.',
      )
    return reply.type(TILE_TYPE).header('cache-control', IMMUTABLE).send(bytes)
  }
  app.get(
    '/log/tile/entries/*',
    {
      schema: {
        tags: TAGS,
        operationId: 'getEntryBundle',
        summary: 'An entry bundle, whole or partial',
        description:
          'Paths and bytes of c2sp.org/tlog-tiles, e.g. `/log/tile/entries/x001/067` or `.../000.p/17`.',
        response: { 200: content(TILE_TYPE, 'entries, each behind its length'), ...failures(404) },
      },
    },
    ({ raw }, reply) => serve(raw.url!, reply),
  )
  app.get(
    '/log/tile/:level/*',
    {
      schema: {
        tags: TAGS,
        operationId: 'getTile',
        summary: 'A tile, whole or partial',
        description:
          'Paths and bytes of c2sp.org/tlog-tiles, e.g. `/log/tile/0/x001/067` or `/log/tile/1/000.p/17`.',
        response: { 200: content(TILE_TYPE, 'hashes of 32 bytes each'), ...failures(404) },
      },
    },
    ({ raw }, reply) => serve(raw.url!, reply),
  )

  const policy = selfAssertedPolicy(key.name, formatPolicy(policyOfLogs(key)))
  app.get(
    '/log/policy',
    {
      schema: {
        tags: TAGS,
        operationId: 'getPolicy',
        summary: 'A policy with the key of this log, as the log itself asserts it',
        description:
          'c2sp.org/tlog-policy. Compare the key with one that you got another way before you trust it.',
        response: { 200: content('text/plain', 'the policy') },
      },
    },
    (_, reply) =>
      reply.type('text/plain; charset=utf-8').header('rootspan-self-asserted', 'true').send(policy),
  )
}

function selfAssertedPolicy(origin: string, policy: string): string {
  return [
    `# The policy of the log ${origin}, as the log itself asserts it.`,
    '# Compare the key with one that you got another way before you trust it.',
    policy,
  ].join('\n')
}
