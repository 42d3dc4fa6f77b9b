// A Fastify service as anybody would write it, which logs by pino. It knows nothing of tracing.
const fastify = require('fastify')

const app = fastify({ logger: { level: 'info' }, forceCloseConnections: true })
const stock = new Map([['tea', 3]])

app.get('/stock/:item', async (request, reply) => {
  const count = stock.get(request.params.item)
  if (count === undefined) return reply.code(404).send({ error: 'no such item' })
  request.log.info({ count }, 'looked up')
  return { count }
})

app.post('/reservations', async () => {
  throw new Error('the warehouse is closed')
})

app.listen({ port: 0, host: '127.0.0.1' }).then((url) => console.log(`listening on ${url}`))
process.on('SIGTERM', () => app.close())
