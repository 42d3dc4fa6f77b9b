/** The hooks and OPA's own decision log must say the same of a result: where they differ, a rule finds a contradiction. */
import { expect, test } from 'vitest'
import { opaRequest } from '../../packages/collector/src/receiver/opa.ts'
import { opaDecision, opaQuestion } from '../../packages/instrumentation/src/hooks/opa-answer.ts'
import { readLogs } from '../support/logs.ts'

const NAMES = ['allow', 'is_allowed', 'permitted', 'authorized', 'deny', 'forbidden', 'decision', 'violation']
const VALUES = [true, false, null, 'yes', [], ['a reason'], {}, undefined]

const RESULTS: readonly unknown[] = [
  ...VALUES,
  ...NAMES.flatMap((name) => VALUES.map((value) => ({ [name]: value }))),
  ...NAMES.flatMap((one) => NAMES.map((other) => ({ [one]: true, [other]: false }))),
  { allow: true, deny: ['a reason'] },
  { decision: true, context: {} },
  { decision: true, score: 1 },
]

test.each([...NAMES.map((name) => `authz/${name}`), 'allow', 'authz', 'allow/reason'])(
  'results of %s',
  (path) => {
    const entries = RESULTS.map((result, at) => ({ decision_id: String(at), path, result }))
    const logged = readLogs(opaRequest(new TextEncoder().encode(JSON.stringify(entries)))!)
    const said = RESULTS.map((result) => opaDecision(opaQuestion(path, {}), { result }).outcome)
    expect(logged.map(({ attributes }) => attributes['decision.outcome'])).toEqual(said)
    expect(new Set(said).size).toBeGreaterThan(2)
  },
)
