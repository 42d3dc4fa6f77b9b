/** A short run of every fuzz target with a fixed seed, and the fuzzer itself against targets with known faults. */
import { tracesFromJson } from '@rootspan/lineage/otlp/json'
import { scanTraces } from '@rootspan/lineage/otlp/scan'
import { describe, expect, test } from 'vitest'
import { checkConverted, SHORT_REQUESTS } from './json.ts'
import { fuzz, targetNames } from './session.ts'

describe('targets', () => {
  for (const name of targetNames())
    test(name, { timeout: 60_000 }, async () => {
      const outcome = await fuzz(name, { seconds: 2, seed: 1 })
      expect(outcome.found ? outcome : undefined).toBeUndefined()
      if (!outcome.found) {
        expect(outcome.runs).toBeGreaterThan(50)
        expect(outcome.outcomes).toContain('ok')
        expect(outcome.outcomes.length).toBeGreaterThan(1)
      }
    })
})

test('the second reading of JSON sees every other request', () => {
  const bodies = SHORT_REQUESTS.map((json) => tracesFromJson(json))
  for (const [at, json] of SHORT_REQUESTS.entries())
    for (const [of, body] of bodies.entries()) {
      const check = () => checkConverted(json, body, scanTraces(body))
      if (at === of) check()
      else expect(check, `${at} as ${of}`).toThrow('span 0 became another one')
    }
})

describe('the fuzzer', () => {
  const registry = new URL('./broken-targets.ts', import.meta.url).href

  test('finds a crash and its input', async () => {
    const outcome = await fuzz('crashes', { seconds: 20, seed: 1, registry })
    if (!outcome.found) throw new Error('not found')
    expect(outcome.problem).toMatch(/^TypeError: a bug/)
    expect(outcome.input[2]).toBe(0xff)
    expect(await fuzz('crashes', { seconds: 0, seed: 2, registry, input: outcome.input })).toMatchObject({
      found: true,
    })
    expect(await fuzz('crashes', { seconds: 0, seed: 2, registry, input: Uint8Array.of(1) })).toEqual({
      found: false,
      runs: 1,
      outcomes: ['too short'],
    })
  })

  test('finds a hang and its input', async () => {
    const outcome = await fuzz('hangs', { seconds: 20, seed: 1, registry, hangMillis: 1500 })
    if (!outcome.found) throw new Error('not found')
    expect(outcome.problem).toMatch(/still running/)
    expect(outcome.input.length).toBeGreaterThan(8)
  })

  test('finds an input that takes too long', async () => {
    const outcome = await fuzz('crawls', { seconds: 20, seed: 1, registry })
    expect(outcome).toMatchObject({ found: true, problem: expect.stringMatching(/^took \d+ ms/) })
  })

  test('finds nothing where nothing is, and ends', async () => {
    expect(await fuzz('fine', { seconds: 0.2, seed: 1, registry })).toMatchObject({ found: false })
  })
})
