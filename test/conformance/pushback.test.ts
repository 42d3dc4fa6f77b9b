/** Push-back, storage that fails, and the end of the process: nothing is acknowledged that is not durable. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callGrpc, openSocket, PROTOBUF, readToEnd } from './clients.ts'
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

  test.each(['journal-fails', 'journal-full'] as const)(
    '%s while a request is stored: it is the sender’s cue to try again, and when',
    async (kind) => {
      const before = (await subject.journalled()).length
      subject.disturb({ kind })
      const outcome = await send(subject, BODY)
      expectRetryable(outcome)
      expect(outcome.message).not.toContain('device')
      subject.disturb(undefined)
      expectAccepted(await send(subject, BODY))
      expect(await subject.journalled()).toHaveLength(before + 1)
    },
  )
})

describe.each(TRANSPORTS)('no room for a while over $name', ({ send, name }) => {
  test('a request waits and is acknowledged when there is room, in the order of arrival', async () => {
    const subject = await startSubject({ patienceMillis: 20_000 })
    subject.disturb({ kind: 'behind' })
    const bodies = [1, 2, 3].map((count) => traces(...Array.from({ length: count }, () => span())))
    const ends: number[] = []
    const sent: Promise<void>[] = []
    for (const [at, body] of bodies.entries()) {
      sent.push(
        send(subject, body).then((outcome) => {
          expectAccepted(outcome)
          ends.push(at)
        }),
      )
      await sleep(100)
    }
    expect(ends).toEqual([])
    expect(await subject.journalled()).toEqual([])
    subject.disturb(undefined)
    await Promise.all(sent)
    expect((await subject.journalled()).map(({ body }) => body.length)).toEqual(
      bodies.map(({ length }) => length),
    )
    await subject.stop()
  })

  test('it is pushed back when there is none in time, and at once when there is no use in waiting', async () => {
    const subject = await startSubject({ patienceMillis: 300 })
    subject.disturb({ kind: 'behind' })
    const start = performance.now()
    const outcome = await send(subject, BODY)
    expect(performance.now() - start).toBeGreaterThan(250)
    expectRetryable(outcome)
    await subject.stop()

    const patient = await startSubject({ patienceMillis: 20_000 })
    patient.disturb({ kind: 'behind' })
    const waits = send(patient, BODY)
    await sleep(100)
    patient.disturb({ kind: 'push-back', retryAfterSeconds: 2 })
    expectRetryable(await waits, 2)
    patient.disturb({ kind: 'behind' })
    const last = send(patient, BODY)
    await sleep(100)
    const stopped = patient.stop()
    expectRetryable(await last)
    await stopped
    expect(await patient.journalled()).toEqual([])
  })

  test('what a sender that went away had sent is not kept', async () => {
    const subject = await startSubject({ patienceMillis: 20_000 })
    subject.disturb({ kind: 'behind' })
    if (name === 'gRPC') expect((await callGrpc(subject.grpc, BODY, { deadlineMillis: 200 })).code).toBe(4)
    else {
      const socket = await openSocket(subject.http)
      socket.write(
        `POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: ${PROTOBUF}\r\nContent-Length: ${BODY.length}\r\n\r\n`,
      )
      socket.write(BODY)
      await sleep(100)
      socket.destroy()
    }
    const stays = send(subject, traces(span(), span()))
    await sleep(100)
    subject.disturb(undefined)
    expectAccepted(await stays)
    const [kept, ...others] = await subject.journalled()
    expect(kept!.body.length).toBeGreaterThan(BODY.length)
    expect(others).toEqual([])
    await subject.stop()
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
