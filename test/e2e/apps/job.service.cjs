// A job that lasts as long as it is told to. It says by OpenTelemetry's own log API when it begins; its span is
// exported when it ends, as every span is.
const { createServer } = require('node:http')
const { context, logs, trace } = require('@opentelemetry/api')

const tracer = trace.getTracer('jobs')
const logger = logs.getLogger('jobs')
const job = tracer.startSpan('nightly job', { root: true })
const inside = trace.setSpan(context.active(), job)
const say = (eventName, attributes) => logger.emit({ eventName, attributes, context: inside })

const steps = {
  begin() {
    say('governance.execution.started', { 'governance.execution.kind': 'job' })
    logger.emit({ eventName: 'jobs.progress', body: 'reading', context: inside })
  },
  step() {
    say('governance.decision', { 'governance.decision.outcome': 'allow', 'governance.decision.id': 'd-1' })
    tracer.startSpan('step', { attributes: { 'governance.action.name': 'export' } }, inside).end()
  },
  end() {
    job.end()
  },
}

createServer((request, response) => {
  steps[request.url.slice(1)]()
  response.end(JSON.stringify(job.spanContext()))
}).listen(0, '127.0.0.1', function () {
  console.log(`listening on http://127.0.0.1:${this.address().port}`)
})
process.on('SIGTERM', () => process.exit(0))
