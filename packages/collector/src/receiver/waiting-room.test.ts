import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Refusal, SenderGone } from './receiver.ts'
import { WaitingRoom, type WaitingRoomOptions } from './waiting-room.ts'

/** A room whose state the test sets, and what became of those who entered, in the order in which it came. */
function setUp(options: Partial<WaitingRoomOptions> = {}) {
  const state = { room: 0, refusal: undefined as Refusal | undefined, delayed: 0 }
  const room = new WaitingRoom({
    room: () => state.room,
    gate: () => state.refusal,
    onWait: () => state.delayed++,
    ...options,
  })
  const ends: string[] = []
  const enter = (name: string, bytes = 1, onGone?: (leave: () => void) => void): Promise<void> =>
    room.enter(bytes, onGone).then(
      () => void ends.push(`${name} in`),
      (reason: Error) => void ends.push(`${name} ${reason instanceof Refusal ? reason.code : reason.name}`),
    )
  return { room, state, ends, enter }
}

test('where there is room nobody waits', async () => {
  const { state, ends, enter } = setUp()
  state.room = 1
  await enter('a', 1000)
  expect(ends).toEqual(['a in'])
  expect(state.delayed).toBe(0)
})

test('those who wait are let in in their order, as many as there is room for', async () => {
  const { room, state, ends, enter } = setUp({ maxMillis: 60_000 })
  const all = ['a', 'b', 'c', 'd'].map((name) => enter(name, 10))
  await sleep(30)
  expect(ends).toEqual([])
  expect([room.size, state.delayed]).toEqual([4, 4])
  state.room = 11
  await Promise.all(all.slice(0, 2))
  state.room = 0
  await sleep(30)
  expect(ends).toEqual(['a in', 'b in'])
  // Who comes later does not overtake, even where there is room for it.
  state.room = 100
  all.push(enter('e', 1))
  await Promise.all(all)
  expect(ends).toEqual(['a in', 'b in', 'c in', 'd in', 'e in'])
  expect(room.size).toBe(0)
})

test('nobody waits for longer than the bound, and is then told to come again', async () => {
  const { room, ends, enter } = setUp({ maxMillis: 50 })
  const start = performance.now()
  await enter('a')
  expect(performance.now() - start).toBeGreaterThanOrEqual(49)
  expect(ends).toEqual(['a busy'])
  expect(room.size).toBe(0)
  const seconds: number[] = []
  for (let tries = 0; tries < 3; tries++)
    await room.enter(1).catch((refusal: Refusal) => seconds.push(refusal.retryAfterSeconds!))
  expect(seconds).toHaveLength(3)
  for (const one of seconds) expect(one >= 1 && one <= 2).toBe(true)
  expect(new Set(seconds).size).toBeGreaterThan(1)
})

test('only so many wait: who comes then is pushed back at once', async () => {
  const { room, state, ends, enter } = setUp({ maxWaiting: 2, maxMillis: 60_000 })
  const all = [enter('a'), enter('b')]
  expect(room.refusal()).toMatchObject({ code: 'busy' })
  await enter('c')
  expect(ends).toEqual(['c busy'])
  state.room = 10
  await Promise.all(all)
  expect(room.refusal()).toBe(undefined)
})

test('a gate that is closed refuses at once, and those who wait as well', async () => {
  const { state, ends, enter } = setUp({ maxMillis: 60_000 })
  const waiting = enter('a')
  await sleep(0)
  state.refusal = new Refusal('busy', 'the disk is full')
  state.room = 10
  await enter('b')
  expect(ends).toEqual(['b busy'])
  await waiting
  expect(ends).toEqual(['b busy', 'a busy'])
})

test('a sender that goes away leaves its place', async () => {
  const { room, state, ends, enter } = setUp({ maxMillis: 60_000 })
  let leave: (() => void) | undefined
  const all = [
    enter('a', 1, (call) => {
      leave = call
    }),
    enter('b'),
  ]
  await sleep(0)
  leave!()
  await all[0]
  expect(ends).toEqual([`a ${SenderGone.name}`])
  expect(room.size).toBe(1)
  state.room = 1
  await all[1]
  leave!()
  expect(ends).toEqual([`a ${SenderGone.name}`, 'b in'])
})

test('a shutdown ends all waiting at once; what needs no waiting is let in', async () => {
  const { room, state, ends, enter } = setUp({ maxMillis: 60_000 })
  const all = [enter('a'), enter('b')]
  await sleep(0)
  room.close()
  await Promise.all(all)
  expect(ends).toEqual(['a unavailable', 'b unavailable'])
  await enter('c')
  state.room = 1
  await enter('d')
  expect(ends.slice(2)).toEqual(['c unavailable', 'd in'])
})

test('with a pace, room that is not renewed runs out slowly', async () => {
  const { state, ends, enter } = setUp({ maxMillis: 60_000, paceMillis: 400 })
  state.room = 1000
  const all: Promise<void>[] = []
  for (let at = 0; at < 20; at++)
    all.push(
      enter(`${at}`, 50).then(() => {
        state.room -= 50
      }),
    )
  await sleep(0)
  // A quarter at once, and no more than the rest of it later.
  expect(ends.length).toBeGreaterThan(3)
  expect(ends.length).toBeLessThan(10)
  const early = ends.length
  await sleep(200)
  expect(ends.length).toBeGreaterThan(early)
  state.room = 100_000
  await Promise.all(all)
  expect(ends).toEqual(Array.from({ length: 20 }, (_, at) => `${at} in`))
})

test('with a pace, a request larger than all the room holds up others for a quarter of it', async () => {
  const { state, enter } = setUp({ maxMillis: 60_000, paceMillis: 200 })
  state.room = 1000
  const start = performance.now()
  await enter('a', 1_000_000)
  await enter('b')
  expect(performance.now() - start).toBeGreaterThan(30)
  await enter('c')
  expect(performance.now() - start).toBeLessThan(5000)
})
