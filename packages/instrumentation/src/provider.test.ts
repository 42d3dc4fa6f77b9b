import { trace } from '@opentelemetry/api'
import { TracerProvider } from '@opentelemetry/sdk-trace'
import { afterEach, expect, test } from 'vitest'
import { createLog } from './log.ts'
import { startWatched } from './provider.ts'

const provider = (): TracerProvider => new TracerProvider({ spanProcessors: [] })

afterEach(() => {
  trace.disable()
  // The watch is a member of the singleton, over the method of its class.
  Reflect.deleteProperty(trace, 'setGlobalTracerProvider')
})

test('a provider that takes the place of ours is not taken for one that was refused', () => {
  const lines: string[] = []
  const log = createLog('warn', (line) => lines.push(line))
  startWatched([trace], () => trace.setGlobalTracerProvider(provider()), log)
  expect(lines).toEqual([])
  trace.disable()
  expect(trace.setGlobalTracerProvider(provider())).toBe(true)
  expect(lines).toEqual([expect.stringContaining('in the place of this one')])
  for (let times = 0; times < 2; times++) expect(trace.setGlobalTracerProvider(provider())).toBe(false)
  expect(lines).toEqual([lines[0], expect.stringContaining('of its own')])
})

test('an API that cannot be watched holds nothing up', () => {
  const lines: string[] = []
  const log = createLog('warn', (line) => lines.push(line))
  let isStarted = false
  const start = (): void => {
    isStarted = true
  }
  startWatched([Object.freeze({ setGlobalTracerProvider: () => true })], start, log)
  expect(isStarted).toBe(true)
  expect(lines).toEqual([expect.stringContaining('watching for another SDK failed')])
})
