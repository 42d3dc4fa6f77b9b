/** The continuity vectors in process: what test/continuity sees through the whole pipeline, in a moment. */
import { describe, expect, test } from 'vitest'
import { judged } from '../../../../../test/support/judged.ts'
import { readSpecs } from '../../../../../test/vectors/continuity/make.ts'
import type { VectorSpan } from '../../../../../test/vectors/continuity/spec.ts'

/** Others look at what a log knows of other executions. */
const vectors = (await readSpecs()).filter(
  ({ requests, findings }) =>
    requests.every((spans) => spans === 'settle' || spans.every(({ trace = 0 }) => trace === 0)) &&
    findings.every(({ trace = 0 }) => trace === 0),
)

describe.each(vectors)('$rule $name', ({ requests, services, findings, unknown = [] }) => {
  const segments: VectorSpan[][] = [[]]
  for (const spans of requests) {
    if (spans === 'settle') segments.push([])
    else segments.at(-1)!.push(...spans)
  }
  const execution = judged(segments, services)

  test('gives these findings and no others', () => {
    expect(execution.findings()).toEqual(
      [...findings].sort((a, b) => (a.rule < b.rule ? -1 : a.rule > b.rule ? 1 : 0)),
    )
  })

  test.runIf(unknown.length > 0)('says what it cannot know', () => {
    for (const { rule, missing } of unknown) {
      expect({ rule, result: execution.result(rule) }).toEqual({ rule, result: 'unknown' })
      expect(execution.missing(rule)).toContain(missing)
    }
  })
})
