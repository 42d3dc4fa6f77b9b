// Decides by one library in a loop for as long as it is told to, each time `count` times within a span as of a request:
// without its hooks and with them, in turns. In two processes the same code differs by more than a hook costs, by what the
// compilers and the memory make of it, and so do two copies of some libraries in one process. So there is one copy, of
// which the functions that are hooked are put back and in again; where that is not possible, it is loaded twice.
const { pathToFileURL } = require('node:url')
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

/** The library without its hooks, and with them: what decides, and what is done before. */
async function loadSides() {
  const plain = await load()
  await import(REGISTER)
  const hooked = await load()
  if (hooked.places === undefined)
    return [
      { decide: plain, enter() {} },
      { decide: hooked, enter() {} },
    ]
  const source = pathToFileURL(REGISTER)
  const { originalOf } = await import(new URL('hooks/observe.ts', source))
  const { ownerOf } = await import(new URL('hooks/owner.ts', source))
  const places = hooked.places.map(([object, name]) => {
    const owner = ownerOf(object, name)
    const observed = owner[name]
    return { owner, name, members: [originalOf(observed), observed] }
  })
  return [0, 1].map((side) => ({
    decide: hooked,
    enter() {
      for (const { owner, name, members } of places) owner[name] = members[side]
    },
  }))
}

/** Whether facts of a decision are recorded. */
async function isRecording({ decide, enter }) {
  enter()
  const span = trace.getTracer('bench').startSpan('GET /', { kind: SpanKind.SERVER })
  await context.with(trace.setSpan(context.active(), span), decide, undefined, 0)
  span.end()
  return span.events.length > 0
}

/** Requests with `count` decisions each. */
function client({ decide, enter }, isAsync, count) {
  const { atOnce = false } = decide
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
  /** Ends the request, if these are its last ones. */
  const someAtOnce = async (many, ending) => {
    await Promise.all(Array.from({ length: many }, () => decide(request)))
    ending?.end()
  }
  /** Takes its turn; returns nanoseconds. The user is the same for all of a request. */
  return async function turn() {
    enter()
    const begin = process.hrtime.bigint()
    const asked = []
    for (let done = 0; done < TURN; ) {
      if (left === 0) {
        span = tracer.startSpan('GET /', { kind: SpanKind.SERVER })
        inside = trace.setSpan(context.active(), span)
        left = count
      }
      const many = Math.min(left, TURN - done)
      const ending = left === many ? span : undefined
      if (atOnce) asked.push(context.with(inside, someAtOnce, undefined, many, ending))
      else if (isAsync) await context.with(inside, someAsync, undefined, many)
      else context.with(inside, some, undefined, many)
      done += many
      left -= many
      if (left > 0) continue
      if (!atOnce) span.end()
      request++
    }
    if (atOnce) await Promise.all(asked)
    return Number(process.hrtime.bigint() - begin)
  }
}

async function main() {
  const sides = await loadSides()
  if (await isRecording(sides[0])) throw new Error(`${LIBRARY} is still hooked`)
  if (!(await isRecording(sides[1]))) throw new Error(`${LIBRARY} is not hooked`)
  const isAsync = sides[0].decide(0) instanceof Promise

  /** Microseconds a decision, of whole requests. */
  async function measure(count, millis) {
    const clients = sides.map((side) => client(side, isAsync, count))
    const turns = Math.ceil(count / TURN)
    const without = []
    const added = []
    const end = performance.now() + millis
    for (let round = 0; performance.now() < end; ) {
      const nanos = [0, 0]
      for (let turn = 0; turn < turns; turn++, round++)
        for (const side of round % 2 === 0 ? [0, 1] : [1, 0]) nanos[side] += await clients[side]()
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
