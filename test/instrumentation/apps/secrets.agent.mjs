// The part of secrets.app.mjs that is an agent: spans with content, as OpenTelemetry's conventions have it, those before
// them, and SDKs with names of their own.
import { SpanStatusCode, trace } from '@opentelemetry/api'

export function createAgent(planted) {
  const tracer = trace.getTracer('an-agent-sdk')
  const json = (place) =>
    JSON.stringify([{ role: 'user', parts: [{ type: 'text', content: planted('agent', place) }] }])
  const chat = {
    'gen_ai.operation.name': 'chat',
    'gen_ai.request.model': 'a-model',
    'gen_ai.input.messages': json('input'),
    'gen_ai.output.messages': json('output'),
    'gen_ai.system_instructions': json('instructions'),
    'gen_ai.tool.definitions': json('definitions'),
    'gen_ai.prompt': planted('agent', 'prompt'),
    'gen_ai.completion.0.content': planted('agent', 'completion'),
    'ai.prompt.messages': json('vercel-prompt'),
    'ai.response.text': planted('agent', 'vercel-text'),
    'ai.toolCall.args': json('vercel-arguments'),
    'input.value': planted('agent', 'openinference-input'),
    'llm.output_messages.0.message.content': planted('agent', 'openinference-output'),
    'traceloop.entity.input': planted('agent', 'traceloop-input'),
  }
  const tool = {
    'gen_ai.operation.name': 'execute_tool',
    'gen_ai.tool.name': 'pay',
    'gen_ai.tool.call.id': 'call-1',
    'gen_ai.tool.call.arguments': JSON.stringify({ to: planted('agent', 'argument') }),
    'gen_ai.tool.call.result': [planted('agent', 'result')],
  }
  return (then = () => {}) =>
    tracer.startActiveSpan('chat a-model', (span) => {
      span.setAttributes(chat)
      span.addEvent('gen_ai.user.message', { content: planted('agent', 'event') })
      span.addEvent('gen_ai.content.prompt', { 'gen_ai.prompt': planted('agent', 'event-prompt') })
      try {
        return tracer.startActiveSpan('execute_tool pay', { attributes: tool }, (inner) => {
          try {
            then('agent')
          } catch (error) {
            inner.recordException(error)
            inner.setStatus({ code: SpanStatusCode.ERROR, message: error.message })
            throw error
          } finally {
            inner.end()
          }
        })
      } finally {
        span.end()
      }
    })
}
