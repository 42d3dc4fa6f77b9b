/** An APM that the application starts in its own code: said once, whichever way it is loaded. Nobody patches as they do here. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp, makeDirectory, startProgram } from '../e2e/process.ts'
import { UNDER_FLAG } from './support.ts'

let directory: string

beforeAll(async () => {
  directory = await makeDirectory()
  for (const name of ['newrelic', '@sentry/node', 'express-newrelic']) {
    const home = join(directory, 'node_modules', name)
    await mkdir(join(home, 'lib'), { recursive: true })
    await writeFile(join(home, 'package.json'), JSON.stringify({ name, version: '1.0.0', main: 'index.js' }))
    await writeFile(join(home, 'index.js'), "exports.agent = require('./lib/agent.js')")
    await writeFile(join(home, 'lib/agent.js'), "module.exports = 'started'")
  }
})

afterAll(cleanUp)

const warnings = async (file: string, code: string): Promise<string[]> => {
  await writeFile(join(directory, file), code)
  const env = {
    OTEL_TRACES_EXPORTER: 'none',
    OTEL_METRICS_EXPORTER: 'none',
    ROOTSPAN_FINGERPRINT_KEY: 'x'.repeat(16),
  }
  const run = startProgram(process.execPath, [...UNDER_FLAG, join(directory, file)], { cwd: directory, env })
  const { code: status, stdout, stderr } = await run.ends()
  expect({ status, stdout, stderr }).toMatchObject({ status: 0, stdout: expect.stringContaining('started') })
  return stderr.match(/.* is loaded too: .*/g) ?? []
}

const SAID = 'is loaded too: with two, either may disable the other’s hooks'

test.each([
  ['required.cjs', "require('newrelic'); console.log(require('newrelic/lib/agent.js'))", ['newrelic']],
  ['imported.mjs', "import { agent } from 'newrelic'; console.log(agent)", ['newrelic']],
  [
    'later.mjs',
    "setTimeout(async () => console.log((await import('@sentry/node')).default.agent))",
    ['Sentry'],
  ],
  ['both.cjs', "require('newrelic'); console.log(require('@sentry/node').agent)", ['newrelic', 'Sentry']],
  ['another.cjs', "console.log(require('express-newrelic').agent)", []],
])('%s', async (file, code, names) => {
  expect(await warnings(file, code)).toEqual(names.map((name) => `rootspan: warning: ${name} ${SAID}`))
})
