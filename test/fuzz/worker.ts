/** One fuzzing run of one target, on a thread of its own so that a hang can be seen from outside. */
import { parentPort, workerData } from 'node:worker_threads'
import { MalformedError, VerificationError } from '@rootspan/lineage/errors'
import { below, MAX_INPUT, mutate, pick, randomOf } from './mutate.ts'
import type { WorkerMessage, WorkerOrder } from './session.ts'
import type { Target } from './targets.ts'

const MAX_CORPUS = 512

/** What an input did, in a word: inputs that do something new are kept to be mutated further. */
function outcomeOf(target: Target, input: Uint8Array): string {
  try {
    target.run(input)
    return 'ok'
  } catch (error) {
    // what is wrong without where: positions, and words with digits, dots or brackets
    if (error instanceof MalformedError)
      return error.message.replace(/ at [0-9].*$/s, '').replace(/\S*[0-9.[\](]\S*/g, '')
    if (error instanceof VerificationError) return `${error.code}: ${error.message.slice(error.where.length)}`
    throw error
  }
}

async function main(order: WorkerOrder): Promise<void> {
  const { targets } = (await import(order.registry)) as { targets: readonly Target[] }
  const target = targets.find((each) => each.name === order.target)
  if (target === undefined) throw new Error(`bad target ${order.target}`)
  const send = (message: WorkerMessage) => parentPort!.postMessage(message)
  const counter = new Int32Array(order.shared, 0, 2)
  const current = new Uint8Array(order.shared, 8)
  const random = randomOf(order.seed)
  const tokens = (target.tokens ?? []).map((token) => new TextEncoder().encode(token))
  const seen = new Set<string>()
  let corpus: Uint8Array[] = []
  let runs = 0

  /** Returns whether to go on. The input is laid open first, for whoever has to report a hang. */
  const attempt = (input: Uint8Array): boolean => {
    current.set(input)
    counter[1] = input.length
    Atomics.add(counter, 0, 1)
    runs++
    try {
      let millis = Number.POSITIVE_INFINITY
      let outcome = ''
      for (let tries = 0; tries < 3 && millis > target.maxMillis; tries++) {
        const before = performance.now()
        outcome = outcomeOf(target, input)
        millis = Math.min(millis, performance.now() - before)
      }
      if (millis > target.maxMillis) {
        send({ type: 'find', problem: `took ${millis.toFixed(0)} ms, three times`, input })
        return false
      }
      if (!seen.has(outcome) || (outcome === 'ok' && random() < 1 / 64)) {
        seen.add(outcome)
        if (corpus.length < MAX_CORPUS) corpus.push(input)
        else corpus[below(MAX_CORPUS, random)] = input
      }
      return true
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? `\n${error.cause.stack}` : ''
      const problem = error instanceof Error ? `${error.stack ?? error.message}${cause}` : String(error)
      send({ type: 'find', problem, input })
      return false
    }
  }

  send({ type: 'started' })
  const inputs = order.input === undefined ? target.seeds() : [order.input]
  for (const input of inputs) if (!attempt(input)) return
  if (order.input === undefined) {
    corpus = inputs.filter((input) => input.length <= MAX_INPUT)
    const end = performance.now() + order.seconds * 1000
    while (performance.now() < end) {
      const parent = pick(corpus, random)
      const input =
        target.mutate && random() < 0.5
          ? target.mutate(parent, corpus, random)
          : mutate(parent, corpus, tokens, random)
      if (!attempt(input)) return
    }
  }
  send({ type: 'done', runs, outcomes: [...seen] })
}

await main(workerData as WorkerOrder)
