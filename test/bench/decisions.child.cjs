// Decides by one library in a loop for as long as it is told to, each time `count` times within a span as of a request:
// with the library as it was loaded before there were hooks, and with the same one loaded once more, in turns. In two
// processes the same code differs by more than a hook costs, by what the compilers and the memory make of it.
const { context, SpanKind, trace } = require('@opentelemetry/api')
const { DECIDERS } = require('./decisions.cjs')

const { LIBRARY, REGISTER } = process.env
/** Decisions in a row before it is the other one's turn. */
const TURN = 20

/** The library as it is loaded now. */
async function load() {
  for (const file of Object.keys(require.cache))
    if (!file.includes('@opentelemetry')) delete require.cache[file]
  return await DECIDERS[LIBRARY]()
}

/** Requests with `count` decisions each. */
function client(decide, isAsync, count) {
  const tracer = trace.getTracer('bench')
  let request = 0
  let left = 0
  let span
  let inside
  const some = (many) => {
    for (let one = 0; one < many; one++) decide(request)
  }
  const someAsync = async (many) => {
    for (let one = 0; one < many; one++) await decide(request)
  }
  /** Takes its turn; returns nanoseconds. The user is the same for all of a request. */
  return async function turn() {
    const begin = process.hrtime.bigint()
    for (let done = 0; done < TURN; ) {
      if (left === 0) {
        span = tracer.startSpan('GET /', { kind: SpanKind.SERVER })
        inside = trace.setSpan(context.active(), span)
        left = count
      }
      const many = Math.min(left, TURN - done)
      if (isAsync) await context.with(inside, someAsync, undefined, many)
      else context.with(inside, some, undefined, many)
      done += many
      left -= many
      if (left > 0) continue
      span.end()
      request++
    }
    return Number(process.hrtime.bigint() - begin)
  }
}

async function main() {
  const plain = await load()
  await import(REGISTER)
  const hooked = await load()
  const isAsync = plain(0) instanceof Promise

  /** Microseconds a decision, of whole requests. */
  async function measure(count, millis) {
    const sides = [plain, hooked].map((decide) => client(decide, isAsync, count))
    const turns = Math.ceil(count / TURN)
    const without = []
    const added = []
    const end = performance.now() + millis
    for (let round = 0; performance.now() < end; ) {
      const nanos = [0, 0]
      for (let turn = 0; turn < turns; turn++, round++)
        for (const side of round % 2 === 0 ? [0, 1] : [1, 0]) nanos[side] += await sides[side]()
      const decisions = 1000 * turns * TURN
      without.push(nanos[0] / decisions)
      added.push((nanos[1] - nanos[0]) / decisions)
    }
    return { without, added }
  }

  process.on('message', async ({ count, millis }) => process.send(await measure(count, millis)))
  process.on('disconnect', () => process.exit())
  process.send('ready')
}

if (LIBRARY === undefined) process.send(Object.keys(DECIDERS))
else void main()
