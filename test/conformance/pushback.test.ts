/** Push-back, storage that fails, and the end of the process: nothing is acknowledged that is not durable. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSocket, readToEnd } from './clients.ts'
import { ONE_GROUP, span, traces } from './fixtures.ts'
import { type Subject, startSubject } from './subject.ts'
import { expectAccepted, expectRetryable, TRANSPORTS } from './transports.ts'

const BODY = traces(span())

describe.each(TRANSPORTS)('push-back over $name', ({ send }) => {
  let subject: Subject
  beforeAll(async () => {
    subject = await startSubject()
  })
  afterAll(() => subject.stop())

  test.each([1, 2] as const)('every signal is told to come again after %i s', async (retryAfterSeconds) => {
    subject.disturb({ kind: 'push-back', retryAfterSeconds })
    expectRetryable(await send(subject, BODY), retryAfterSeconds)
    expectRetryable(await send(subject, BODY, { gzip: true }), retryAfterSeconds)
    expectRetryable(await send(subject, new Uint8Array(0)), retryAfterSeconds)
    for (const signal of ['metrics', 'logs'] as const)
      expectRetryable(await send(subject, ONE_GROUP, { signal }), retryAfterSeconds)
    subject.disturb(undefined)
    expect(await subject.journalled()).toEqual([])
  })

  test('a large request is told so as well', async () => {
    subject.disturb({ kind: 'push-back', retryAfterSeconds: 1 })
    const large = traces(...Array.from({ length: 50_000 }, () => span()))
    expect(large.length).toBeGreaterThan(3_000_000)
    expectRetryable(await send(subject, large), 1)
    subject.disturb(undefined)
  })

  test('a journal that fails is the sender’s cue to try again, without a hint when', async () => {
    subject.disturb({ kind: 'journal-fails' })
    const outcome = await send(subject, BODY)
    expectRetryable(outcome, undefined)
    expect(outcome.message).not.toContain('device')
    subject.disturb(undefined)
    expectAccepted(await send(subject, BODY))
    expect(await subject.journalled()).toHaveLength(1)
  })
})

describe.each(TRANSPORTS)('shutting down with $name', ({ send, name }) => {
  test('what is under way is finished and acknowledged, what is new is not taken', async () => {
    const subject = await startSubject()
    const held = Promise.withResolvers<void>()
    subject.disturb({ kind: 'journal-waits', until: held.promise })
    const underWay = send(subject, BODY)
    await sleep(100)
    const stopped = subject.stop(5000)
    await sleep(50)
    const { port } = name === 'HTTP' ? subject.http : subject.grpc
    await expect(openSocket({ host: '127.0.0.1', port })).rejects.toThrow('ECONNREFUSED')
    held.resolve()
    expectAccepted(await underWay)
    await stopped
    expect(await subject.journalled()).toHaveLength(1)
  })

  test('what does not finish is cut off after the grace', async () => {
    const subject = await startSubject()
    const held = Promise.withResolvers<void>()
    subject.disturb({ kind: 'journal-waits', until: held.promise })
    const outcome = send(subject, BODY).then(
      ({ code }) => code,
      () => 'cut',
    )
    await sleep(100)
    await subject.stop(100)
    expect(['cut', 14, 1, 13]).toContain(await outcome)
    held.resolve()
  })

  test('idle connections do not hold it up', async () => {
    const subject = await startSubject()
    const socket = await openSocket(name === 'HTTP' ? subject.http : subject.grpc)
    const reply = readToEnd(socket)
    await sleep(50)
    await subject.stop(500)
    await reply
  })
})
