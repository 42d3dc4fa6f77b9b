// An agent that makes spans as the conventions for generative AI have them, early or late, and knows nothing of more.
import { ROOT_CONTEXT, SpanStatusCode, trace } from '@opentelemetry/api'
import express from 'express'

const app = express()
const tracer = trace.getTracer('an-agent-sdk')

function span(name, attributes, work, context) {
  const run = async (span) => {
    try {
      return await work(span)
    } catch (error) {
      span.setAttribute('error.type', error.constructor.name)
      span.setStatus({ code: SpanStatusCode.ERROR })
    } finally {
      span.end()
    }
  }
  return context === undefined
    ? tracer.startActiveSpan(name, { attributes }, run)
    : tracer.startActiveSpan(name, { attributes }, context, run)
}

const agent = { 'gen_ai.operation.name': 'invoke_agent', 'gen_ai.agent.name': 'planner' }
const tool = {
  'gen_ai.operation.name': 'execute_tool',
  'gen_ai.tool.name': 'pay',
  'gen_ai.tool.call.id': 'call-1',
}
const content = { 'gen_ai.tool.call.arguments': '{"amount":5}', 'gen_ai.tool.call.result': '{"paid":true}' }

const pay = () => fetch(`${origin}/payments`, { method: 'POST' })
const early = () => span('execute_tool pay', tool, pay)
const late = () =>
  span('execute_tool pay', {}, async (span) => {
    await pay()
    span.setAttributes({ ...tool, ...content })
  })
const broken = () =>
  span('execute_tool pay', tool, () => {
    throw new TypeError('no')
  })

app.post('/payments', (_, response) => response.end())
app.get('/agent', async (request, response) => {
  await span('invoke_agent planner', agent, { early, late, broken }[request.query.how])
  response.end()
})
/** In a trace of its own, as a worker's. */
app.get('/job', async (_, response) => {
  await span(
    'invoke_agent planner',
    agent,
    async (span) => {
      await early()
      response.end(span.spanContext().traceId)
    },
    ROOT_CONTEXT,
  )
})

let origin
const server = app.listen(0, '127.0.0.1', () => {
  origin = `http://127.0.0.1:${server.address().port}`
  console.log(`listening on ${origin}`)
})
