/** Runs every snippet of docs/instrument/api.md as it stands, and compares what it prints with what the page says. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root } from '../../scripts/workspace.ts'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { everything, livesOf } from './lives.ts'
import { select, startCode, startQuickCollector } from './support.ts'

const page = await readFile(join(root, 'docs/instrument/api.md'), 'utf8')
const snippets = page
  .split(/^## /m)
  .slice(1)
  .flatMap((section) => {
    const [title] = section.split('\n')
    return [...section.matchAll(/^```js\n(.*?)^```/gms)].map((match) => ({ title: title!, code: match[1]! }))
  })

let collector: CollectorProcess

beforeAll(async () => {
  collector = await startQuickCollector()
})

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

test('every function of the page has a snippet', () => {
  const listed = [...page.matchAll(/^\| \[`(\w+)`\]/gm)].map((match) => match[1])
  expect(snippets.map(({ title }) => title)).toEqual(listed)
})

test.each(snippets)('$title', async ({ title, code }) => {
  const { code: exit, stdout, stderr } = await startCode(collector, code, { OTEL_SERVICE_NAME: title }).ends()
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' })
  const expected = [...code.matchAll(/\/\/ => (.*)$/gm)].map((match) => match[1])
  expect(stdout.trimEnd().split('\n')).toEqual(expected)
  const all = await everything(collector, (records) =>
    records.some(({ span, resource }) => resource['service.name'] === title && span === 'governance.goodbye'),
  )
  const mine = all.filter(({ resource }) => resource['service.name'] === title)
  expect([...livesOf(mine).values()]).toMatchObject([{ missing: [], broken: [] }])
  expect(select(mine, 'request').length + select(mine, 'transition').length).toBeGreaterThan(0)
})
