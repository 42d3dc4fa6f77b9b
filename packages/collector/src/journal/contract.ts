/**
 * What every {@link Journal} promises, as tests for whichever implementation: appends are dense and durable, reads
 * give them back in order, trimming and restarting never move a position.
 */
import assert from 'node:assert/strict'
import { JournalFailed } from './errors.ts'
import type { Entry, Frame } from './frame.ts'
import type { Journal } from './journal.ts'

/** One place where a journal lives, and how to get at it. */
export interface JournalFixture {
  /** Opens it, as after a restart. Segments or their like hold a few frames only. */
  open(options?: { committedEnd?: number; onDurable?: (end: number) => void }): Promise<Journal>
  /** Frames from a position on, up to what is durable. */
  read(from: number, until: number): Promise<Frame[]>
  /** Ends the writer without any of its manners. */
  kill(journal: Journal): Promise<void>
}

/** Registers the suite through the test runner's `test`. `make` gives an empty place each time. */
export function journalContract(
  test: (name: string, run: () => Promise<void>) => void,
  make: () => Promise<JournalFixture>,
): void {
  const entry = (number: number, size = 40): Entry => ({
    seed: new Uint8Array(32).fill(number % 251),
    receipt: new Uint8Array([8, number % 100]),
    body: new Uint8Array(size).map((_, i) => (number * 31 + i) % 256),
  })
  const expectFrames = (frames: readonly Frame[], from: number, until: number): void => {
    assert.deepEqual(
      frames.map(({ position }) => position),
      Array.from({ length: until - from }, (_, i) => from + i),
    )
    for (const frame of frames) {
      const { seed, receipt, body } = entry(frame.position)
      assert.deepEqual(Uint8Array.from(frame.seed), seed)
      assert.deepEqual(Uint8Array.from(frame.receipt), receipt)
      assert.deepEqual(Uint8Array.from(frame.body), body)
    }
  }
  const appendMany = async (journal: Journal, count: number): Promise<void> => {
    const first = journal.durableEnd
    const positions = await Promise.all(
      Array.from({ length: count }, (_, i) => journal.append(entry(first + i))),
    )
    assert.deepEqual(
      positions,
      Array.from({ length: count }, (_, i) => first + i),
    )
  }

  test('positions are dense from 0, and frames come back in order', async () => {
    const fixture = await make()
    const journal = await fixture.open()
    assert.equal(journal.durableEnd, 0)
    for (let i = 0; i < 5; i++) assert.equal(await journal.append(entry(i)), i)
    await appendMany(journal, 40)
    assert.equal(journal.durableEnd, 45)
    expectFrames(await fixture.read(0, 45), 0, 45)
    expectFrames(await fixture.read(17, 45), 17, 45)
    expectFrames(await fixture.read(45, 45), 45, 45)
    await journal.close()
  })

  test('an append has settled only when durableEnd has passed it', async () => {
    const fixture = await make()
    const ends: number[] = []
    const journal = await fixture.open({ onDurable: (end) => ends.push(end) })
    for (let i = 0; i < 10; i++) {
      const position = await journal.append(entry(i))
      assert.ok(journal.durableEnd > position)
      assert.equal(ends.at(-1), journal.durableEnd)
    }
    await journal.close()
  })

  test('everything acknowledged is there after a clean restart and after a kill', async () => {
    const fixture = await make()
    let count = 0
    for (let round = 0; round < 6; round++) {
      const journal = await fixture.open()
      assert.equal(journal.durableEnd, count)
      await appendMany(journal, 7)
      count += 7
      if (round % 2 === 0) await journal.close()
      else await fixture.kill(journal)
    }
    const journal = await fixture.open()
    expectFrames(await fixture.read(0, count), 0, count)
    await journal.close()
  })

  test('trimming gives space back, keeps what is above, and moves no position', async () => {
    const fixture = await make()
    let journal = await fixture.open()
    await appendMany(journal, 60)
    const before = journal.bytes
    await journal.trim(30)
    assert.ok(journal.bytes < before)
    expectFrames(await fixture.read(30, 60), 30, 60)
    await journal.trim(10)
    await journal.trim(60)
    await journal.close()
    for (let round = 0; round < 3; round++) {
      journal = await fixture.open({ committedEnd: 60 + round })
      assert.equal(journal.durableEnd, 60 + round)
      assert.equal(await journal.append(entry(60 + round)), 60 + round)
      await journal.trim(61 + round)
      await journal.close()
    }
  })

  test('an empty body and an empty receipt are a frame', async () => {
    const fixture = await make()
    const journal = await fixture.open()
    const empty = { seed: new Uint8Array(32), receipt: new Uint8Array(0), body: new Uint8Array(0) }
    assert.equal(await journal.append(empty), 0)
    const [frame] = await fixture.read(0, 1)
    assert.equal(frame?.receipt.length, 0)
    assert.equal(frame?.body.length, 0)
    await journal.close()
  })

  test('a closed journal takes nothing, and close waits for what was appended', async () => {
    const fixture = await make()
    const journal = await fixture.open()
    const appended = journal.append(entry(0))
    const closed = journal.close()
    assert.equal(await appended, 0)
    await closed
    await assert.rejects(journal.append(entry(1)), JournalFailed)
    await journal.close()
  })

  test('a seed of another size is refused', async () => {
    const fixture = await make()
    const journal = await fixture.open()
    await assert.rejects(journal.append({ ...entry(0), seed: new Uint8Array(31) }), RangeError)
    assert.equal(await journal.append(entry(0)), 0)
    await journal.close()
  })
}
