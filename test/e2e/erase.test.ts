/**
 * Erasing one subject from a log, before and after crashes in the middle of it: no value and no salt is anywhere in the
 * data directory, everything else verifies, and what was erased says by whom, when and why.
 *
 * EXECUTIONS=100000 makes it the size of the issue; the default is for every day.
 */
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseBundle } from '@rootspan/lineage/evidence/bundle'
import { Committer } from '@rootspan/lineage/record/commitment'
import { parsePayload } from '@rootspan/lineage/record/payload'
import { parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { type Policy, policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { verify } from '@rootspan/lineage/verify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { grep } from './grep.ts'
import { cleanUp, makeDirectory, waitFor } from './process.ts'
import * as support from './support.ts'
import { type CollectorProcess, startCollectorProcess, startRootspan } from './support.ts'

const EXECUTIONS = Number(process.env.EXECUTIONS ?? 1000)
const SUBJECT = 'alice.the.subject@example.com'
const EVERY = 50
const LONG = { timeout: 3_600_000 }
const REASON = 'request 4711 of the data subject'

afterAll(cleanUp)

const runRootspan = (args: readonly string[], of: string) => support.runRootspan(args, of, LONG.timeout)
const runVerifier = (args: readonly string[], of: string) => support.runVerifier(args, of, LONG.timeout)

const isOfSubject = (number: number): boolean => number % EVERY === 7
const traceIdOf = (number: number): string => (number + 1).toString(16).padStart(32, '0')
const secretOf = (number: number): string => `secret value of execution ${number} !`

function spansOf(number: number): { service: string; span: object }[] {
  const id = (at: number): string => (number * 4 + at + 1).toString(16).padStart(16, '0')
  const attribute = (key: string, value: string) => ({ key, value: { stringValue: value } })
  const start = 1_790_000_000_000_000_000n + BigInt(number) * 1_000_000n
  const subject = isOfSubject(number) ? SUBJECT : `user-${number % 97}`
  return [0, 1, 2].map((at) => ({
    service: at === 2 && isOfSubject(number) ? 'only-of-alice' : 'shop',
    span: {
      traceId: traceIdOf(number),
      spanId: id(at),
      ...(at > 0 && { parentSpanId: id(at - 1) }),
      name: at === 0 && isOfSubject(number) ? 'GET /alice-of-example' : `step ${at}`,
      kind: 1,
      startTimeUnixNano: String(start + BigInt(at)),
      endTimeUnixNano: String(start + 1000n),
      attributes: [
        attribute('note', secretOf(number)),
        ...(at === 1
          ? [
              attribute('governance.authorization.subject', subject),
              attribute('governance.decision.id', `decision ${number}`),
              attribute('governance.decision.outcome', 'allow'),
            ]
          : []),
      ],
    },
  }))
}

/** One request with the spans of many executions, a resource for each service. */
async function send({ http }: CollectorProcess, numbers: readonly number[]): Promise<void> {
  const spans = numbers.flatMap(spansOf)
  const resourceSpans = [...Map.groupBy(spans, ({ service }) => service)].map(([service, of]) => ({
    resource: { attributes: [{ key: 'service.name', value: { stringValue: service } }] },
    scopeSpans: [{ scope: { name: 'test' }, spans: of.map(({ span }) => span) }],
  }))
  for (;;) {
    const response = await fetch(`${http}/v1/traces`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ resourceSpans }),
    })
    if (response.ok) return
    expect(response.status).toBe(503)
    await sleep(500)
  }
}

async function evidenceOf({ api }: CollectorProcess, number: number): Promise<Uint8Array> {
  return waitFor(`the evidence of execution ${number}`, async () => {
    const response = await fetch(`${api}/api/v1/executions/${traceIdOf(number)}/evidence`)
    return response.ok ? new Uint8Array(await response.arrayBuffer()) : undefined
  })
}

const ORDER = ['--subject', SUBJECT, '--reason', REASON, '--by', 'the privacy office', '--yes']
const numbers = Array.from({ length: EXECUTIONS }, (_, number) => number)
const erased = numbers.filter(isOfSubject)
let directory: string
let policy: Policy
/** Values, seeds and salts that have to be nowhere. */
let needles: Uint8Array[]

beforeAll(async () => {
  directory = await makeDirectory()
  const collector = await startCollectorProcess({ directory, quietPeriod: '300ms' })
  policy = policyOfLogs(parseVerifierKey(collector.vkey))
  for (let at = 0; at < numbers.length; at += 100) await send(collector, numbers.slice(at, at + 100))
  const salts: Buffer[] = []
  const committer = new Committer()
  for (const number of erased)
    for (const { payload } of parseBundle(await evidenceOf(collector, number)).segments)
      for (const { source, index } of parsePayload(payload).spans)
        salts.push(
          ...[source.seed, ...[0, 1, 2].map((ordinal) => committer.salt(source.seed, index, ordinal))].map(
            (bytes) => Buffer.from(bytes),
          ),
        )
  const all = [
    ...[SUBJECT, 'only-of-alice', 'GET /alice-of-example', ...erased.map(secretOf)].map((text) =>
      Buffer.from(text),
    ),
    ...salts,
  ]
  // Spans of one request share a seed.
  needles = [...new Map(all.map((needle) => [needle.toString('latin1'), needle])).values()]
  await collector.stop()
}, 3_600_000)

/** That the grep would find them: values and seeds are there before, salts are derived and are nowhere. */
test('before erasing, every value is found', LONG, () => {
  const found = grep(join(directory, 'rootspan-data'), needles)
  const stored = needles.filter(({ length }) => length !== 16)
  expect(needles.filter(({ length }, at) => length !== 16 && found.has(at))).toHaveLength(stored.length)
})

async function expectErased(of: string): Promise<void> {
  expect([...grep(join(of, 'rootspan-data'), needles)]).toEqual([])
  const fsck = await runRootspan(['fsck', '--json'], of)
  expect(JSON.parse(fsck.stdout)).toMatchObject({ problems: [], notes: [] })
}

test('one subject is erased, and nothing else is changed', LONG, async () => {
  const copy = await copied(directory)
  const preview = await runRootspan(['erase', '--subject', SUBJECT, '--dry-run', '--json'], copy)
  expect(JSON.parse(preview.stdout).executions).toEqual(erased.map(traceIdOf))
  const { code, stdout, stderr } = await runRootspan(['erase', ...ORDER], copy)
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
  expect(stdout).toContain(`of ${erased.length.toLocaleString('en')} executions`)
  await expectErased(copy)

  const collector = await startCollectorProcess({ directory: copy })
  for (const number of numbers) {
    const result = verify(await evidenceOf(collector, number), policy)
    if (isOfSubject(number)) {
      expect(result.erasures).toMatchObject([
        { scope: 'execution', selector: ['subject'], reason: REASON, by: 'the privacy office' },
      ])
      expect(result.records.some(({ span }) => span !== undefined)).toBe(false)
    } else {
      expect(result.erasures).toEqual([])
      expect(result.records.filter(({ span }) => span !== undefined)).toHaveLength(3)
    }
  }
  const audit = await runVerifier(
    ['audit', `${collector.api}/log`, '--policy', await policyFile(copy, collector)],
    copy,
  )
  expect(audit.code, audit.stdout + audit.stderr).toBe(0)
  await collector.stop()
  await expectErased(copy)
  await rm(copy, { recursive: true })
})

describe('killed in the middle', () => {
  test('it has not begun, or is finished by the next start', LONG, async () => {
    let begun = 0
    let untouched = 0
    // Times of death from before the first write to after the last, as long as an erasure takes here.
    const whole = await timed(async () => {
      const copy = await copied(directory)
      await runRootspan(['erase', ...ORDER], copy)
      await rm(copy, { recursive: true })
    })
    const rounds = EXECUTIONS > 10_000 ? 6 : 4
    for (let round = 0; round < rounds; round++) {
      const copy = await copied(directory)
      const child = startRootspan(['erase', ...ORDER], copy)
      await sleep(whole * (0.35 + (0.65 * round) / rounds))
      child.signal('SIGKILL')
      await child.ends()
      // The next one that opens the directory finishes: by itself, or as the collector starts.
      const resumed = await runRootspan(['erase', '--resume', '--json'], copy)
      expect(resumed.code, `round ${round}: ${resumed.stderr}`).toBe(0)
      // What was being written as it died is not committed: that it is removed is all there is to say.
      for (const line of resumed.stderr.split('\n').filter((line) => line !== ''))
        expect(JSON.parse(line).msg, `round ${round}`).toMatch(
          /^pack: (?:not committed, removed|uncommitted tail cut)$/,
        )
      const left = grep(join(copy, 'rootspan-data'), needles)
      if (left.size > 0) {
        untouched++
        const again = await runRootspan(['erase', ...ORDER, '--json'], copy)
        expect(JSON.parse(again.stdout), `round ${round}`).toMatchObject({ executions: erased.length })
      } else begun++
      await expectErased(copy)
      await rm(copy, { recursive: true })
    }
    expect(begun + untouched).toBe(rounds)
  })
})

test(
  'what is held is left alone; an attribute is erased, and the rest of its executions stays',
  LONG,
  async () => {
    const copy = await copied(directory)
    const order = ['--reason', 'case 12', '--by', 'legal']
    const run = async (...args: string[]) => runRootspan(args, copy)
    const held = await run('hold', 'add', '--trace', traceIdOf(erased[0]!), ...order)
    const leaf = /leaf (\d+)/.exec(held.stdout)![1]!
    expect(JSON.parse((await run('hold', 'list', '--json')).stdout)).toMatchObject([
      { leaf: Number(leaf), trace: traceIdOf(erased[0]!), reason: 'case 12', by: 'legal' },
    ])
    const refused = await run('erase', '--trace', traceIdOf(erased[0]!), ...order, '--yes', '--json')
    expect(refused.code).toBe(1)
    expect(JSON.parse(refused.stdout)).toMatchObject({ executions: 0, held: [traceIdOf(erased[0]!)] })
    expect(await run('hold', 'remove', '--leaf', leaf, ...order)).toMatchObject({ code: 0, stderr: '' })

    const key = 'governance.authorization.subject'
    const report = await run('erase', '--attribute', key, '--subject', SUBJECT, ...order, '--yes', '--json')
    expect(JSON.parse(report.stdout)).toMatchObject({ executions: erased.length, spans: erased.length })
    expect([...grep(join(copy, 'rootspan-data'), [Buffer.from(SUBJECT)])]).toEqual([])
    expect(JSON.parse((await run('fsck', '--json')).stdout)).toMatchObject({ problems: [] })

    const collector = await startCollectorProcess({ directory: copy })
    const result = verify(await evidenceOf(collector, erased[0]!), policy)
    expect(result.erasures).toMatchObject([
      { scope: 'attributes', keys: [key], selector: ['subject', 'attribute'] },
    ])
    expect(result.records.filter(({ span }) => span !== undefined)).toHaveLength(2)
    const shown = await fetch(
      `${collector.api}/api/v1/executions/${traceIdOf(erased[1]!)}/evidence?disclose=governance.decision.outcome`,
    )
    const disclosed = verify(new Uint8Array(await shown.arrayBuffer()), policy)
    expect(disclosed.segments).toMatchObject([{ withheld: true, missing: { spans: 3 } }])
    await collector.stop()
    await rm(copy, { recursive: true })
  },
)

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

async function copied(from: string): Promise<string> {
  const to = await mkdtemp(join(tmpdir(), 'rootspan-erase-'))
  await cp(from, to, { recursive: true })
  return to
}

async function policyFile(at: string, { vkey }: CollectorProcess): Promise<string> {
  const { writeFile } = await import('node:fs/promises')
  const path = join(at, 'policy')
  await writeFile(path, `log ${vkey}\nquorum none\n`)
  return path
}
