/**
 * The oldest version of each library that a hook knows, installed from the registry: every hook takes hold there, and
 * those of libraries that need no server leave records. The newest are what the other tests run with.
 */
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { HOOKS } from '../../packages/instrumentation/src/hooks/all.ts'
import { root } from '../../scripts/workspace.ts'
import { cleanUp, makeDirectory, runProgram, waitFor } from '../e2e/process.ts'
import type { CollectorProcess, ExecutionSummary } from '../e2e/support.ts'
import { recordsOf, startQuickCollector, UNDER_FLAG } from '../instrumentation/support.ts'
import { isRegistryReachable, npm } from '../support/npm.ts'

/** One call of each library that needs no server. */
const CALLS = `
module.exports = async ({ jwt, passport, casl, casbin, cedar }) => {
  jwt.verify(jwt.sign({ sub: 'alice' }, 'key'), 'key')

  const strategy = { name: 'always', authenticate() { this.success({ id: 'alice' }) } }
  passport.use(strategy)
  const request = { headers: {}, logIn: (user, options, done) => done() }
  await new Promise((resolve) => passport.authenticate('always', { session: false })(request, {}, resolve))

  new casl.Ability([{ action: 'read', subject: 'Order' }]).can('read', 'Order')

  const model = casbin.newModel()
  const definitions = { r: 'sub', p: 'sub', e: 'some(where (p.eft == allow))', m: 'r.sub == p.sub' }
  for (const [name, text] of Object.entries(definitions)) model.addDef(name, name, text)
  await (await casbin.newEnforcer(model)).enforce('alice')

  const uid = (type, id) => ({ type, id })
  cedar.isAuthorized({
    principal: uid('User', 'alice'), action: uid('Action', 'read'), resource: uid('Order', 'o1'),
    context: {}, entities: [], policies: { staticPolicies: 'permit(principal, action, resource);' },
  })
  console.log('called')
}
`
const APPS = {
  'app.cjs': `
    const [jwt, passport, casl, casbin] = ['jsonwebtoken', 'passport', '@casl/ability', 'casbin'].map(require)
    const cedar = require('@cedar-policy/cedar-wasm/nodejs')
    require('./calls.cjs')({ jwt, passport, casl, casbin, cedar })`,
  // Cedar 4.1 has nothing for \`import\` that Node could load.
  'app.mjs': `
    import { createRequire } from 'node:module'
    import * as casl from '@casl/ability'
    import * as casbin from 'casbin'
    import jwt from 'jsonwebtoken'
    import passport from 'passport'
    import call from './calls.cjs'
    const cedar = createRequire(import.meta.url)('@cedar-policy/cedar-wasm/nodejs')
    await call({ jwt, passport, casl, casbin, cedar })`,
}

/** What the calls leave, by kind and by engine or method. */
const LEFT = [
  'decision casbin',
  'decision casl',
  'decision cedar',
  'verification jsonwebtoken.verify',
  'verification passport.always',
]

const reachable = await isRegistryReachable()
if (!reachable) console.warn('SKIPPED: the oldest versions of libraries are not tried without the registry.')

describe.runIf(reachable)('the oldest versions that hooks know', () => {
  let collector: CollectorProcess
  let project: string

  beforeAll(async () => {
    // The SDK is found above the project, so that it is the one that is installed here.
    const above = await makeDirectory()
    project = join(above, 'project')
    await mkdir(join(above, 'node_modules'))
    await symlink(join(root, 'node_modules', '@opentelemetry'), join(above, 'node_modules', '@opentelemetry'))
    await mkdir(project)
    await writeFile(join(project, 'package.json'), '{"private":true}')
    for (const [name, text] of Object.entries({ ...APPS, 'calls.cjs': CALLS }))
      await writeFile(join(project, name), text)
    const names = HOOKS.map(({ library, versions }) => `${library}@${versions.from}`)
    const flags = ['--no-audit', '--no-fund', '--ignore-scripts', '--save-exact', '--legacy-peer-deps']
    const { code, output } = await npm(['install', ...flags, ...names], project)
    expect(code, output).toBe(0)
    collector = await startQuickCollector()
  }, 5 * 60_000)

  afterAll(async () => {
    await collector?.stop()
    await cleanUp()
  })

  test.each(Object.keys(APPS))('%s', { timeout: 60_000 }, async (file) => {
    const service = `oldest-${file}`
    const { code, stdout, stderr } = await runProgram(process.execPath, [...UNDER_FLAG, file], {
      cwd: project,
      env: {
        OTEL_SERVICE_NAME: service,
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.http,
        OTEL_METRICS_EXPORTER: 'none',
        OTEL_LOGS_EXPORTER: 'none',
        OTEL_NODE_RESOURCE_DETECTORS: 'env',
        ROOTSPAN_FINGERPRINT_KEY: 'a key of sixteen bytes or more',
      },
    })
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: 'called\n' })
    expect(stderr).not.toContain('warning')
    // Beside a copy of the instrumentation that is not the project's own the self-test tries no ES modules.
    if (file.endsWith('.cjs'))
      for (const { library, versions } of HOOKS)
        expect(stderr).toContain(`${library}@${versions.from} effective`)
    await waitFor(
      `records of ${service}: ${LEFT.join(', ')}`,
      async () => {
        const response = await fetch(`${collector.api}/api/v1/executions?service=${service}`)
        const { executions } = (await response.json()) as { executions: ExecutionSummary[] }
        const all = await Promise.all(executions.map((one) => recordsOf(collector, one, { isQuiet: true })))
        const left = all.flat().map(({ kind, claims }) => {
          const { 'decision.engine.name': engine, 'verification.method': method } = claims
          return `${kind} ${engine ?? method}`
        })
        return LEFT.every((one) => left.includes(one)) ? true : undefined
      },
      30_000,
    )
  })
})
