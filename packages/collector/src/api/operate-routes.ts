/** `/health`, `/metrics` and the page at `/`: for those who run the collector. */
import { createHash } from 'node:crypto'
import { findExecutions } from './executions.ts'
import { formatMetrics, METRICS_TYPE } from './metrics.ts'
import { formatPage, PAGE_STYLE } from './page.ts'
import { content, json, Live, Ready } from './schema.ts'
import type { Api, ApiServer } from './server.ts'

const TAGS = ['operation']
const NEWEST = 20

export function operateRoutes(app: ApiServer, api: Api): void {
  const { board, published, reader } = api

  app.get(
    '/health/live',
    {
      schema: {
        tags: TAGS,
        operationId: 'isLive',
        summary: 'Whether the process answers',
        response: { 200: json(Live, 'it does') },
      },
    },
    () => ({ status: 'live' }),
  )

  app.get(
    '/health/ready',
    {
      schema: {
        tags: TAGS,
        operationId: 'isReady',
        summary: 'Whether the collector takes requests and commits them',
        response: { 200: json(Ready, 'it does'), 503: json(Ready, 'it does not, and why') },
      },
    },
    (_, reply) => {
      const reasons: string[] = []
      if (board.get('pipeline_ready') !== 1) reasons.push('the pipeline is starting or stopping')
      if (board.get('receivers_ready') !== 1) reasons.push('the receivers are not listening')
      if (reasons.length === 0) return { status: 'ready', reasons }
      return reply.code(503).header('retry-after', '1').send({ status: 'not ready', reasons })
    },
  )

  app.get(
    '/metrics',
    {
      schema: {
        tags: TAGS,
        operationId: 'getMetrics',
        summary: 'Metrics in the Prometheus text format',
        response: { 200: content('text/plain', 'the metrics') },
      },
    },
    async (_, reply) => {
      const checkpointSize = (await published.latest())?.size ?? 0
      const { version, now, use } = api
      return reply
        .type(METRICS_TYPE)
        .send(formatMetrics({ board, version, checkpointSize, now: now(), use: use() }))
    },
  )

  const style = createHash('sha256').update(PAGE_STYLE).digest('base64')
  app.get('/', { schema: { hide: true } }, async (request, reply) => {
    const latest = await published.latest()
    const everything = { service: undefined, from: undefined, to: undefined, after: undefined, limit: NEWEST }
    const { executions } = await findExecutions(reader, everything, latest?.size ?? 0)
    return reply
      .type('text/html; charset=utf-8')
      .header(
        'content-security-policy',
        `default-src 'none'; style-src 'sha256-${style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
      )
      .send(
        formatPage({
          origin: `${request.protocol}://${request.host}`,
          key: api.key,
          version: api.version,
          latest,
          executions,
        }),
      )
  })
}
