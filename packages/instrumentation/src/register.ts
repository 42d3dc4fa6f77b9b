/**
 * `node --import @rootspan/instrumentation/register app.js`: everything, with no code changed.
 *
 * Starts the SDK that the application has installed, hooks libraries before the application loads them, and sends what
 * waits when the process ends.
 */

import { Name } from './facts.ts'
import { HOOKS, HTTP_HOOKS } from './hooks/all.ts'
import { includesOf, RootspanInstrumentation } from './hooks/install.ts'
import { flushAtEnd } from './lifecycle.ts'
import { registerLoader } from './loader.ts'
import { applicationPackages } from './require.ts'
import { runtime as sharedRuntime } from './runtime.ts'
import { autoInstrumentations, createSdk } from './sdk.ts'
import { runSelfTest } from './self-test.ts'
import { VERSION } from './version.ts'

const runtime = sharedRuntime()
const { config, log } = runtime

try {
  await start()
} catch (error) {
  log.failed('starting the instrumentation', error)
}

async function start(): Promise<void> {
  const entry = process.argv[1]
  const packages = applicationPackages(entry)
  const hooks = HOOKS.filter(({ library }) => !config.disabledHooks.has(library))
  const httpHooks = HTTP_HOOKS.filter(({ name }) => !config.disabledHooks.has(name))
  const ours = new RootspanInstrumentation(hooks, httpHooks, runtime)
  // Before all others: what a request was is known when its span ends.
  ours.enable()
  const auto = await autoInstrumentations(packages, log)
  await registerLoader([...includesOf(hooks), ...(auto.modules ?? [])], log)

  let tested: (lines: string[]) => void = () => {}
  const hookLines = new Promise<string[]>((resolve) => {
    tested = resolve
  })
  const sdk = await createSdk(packages, runtime, [ours, ...auto.list], {
    [Name.instrumentationVersion]: VERSION,
    [Name.instrumentationHooks]: hookLines,
  })
  if (sdk === undefined) return
  sdk.start()
  runtime.continuity.begin()
  flushAtEnd(sdk, runtime)
  try {
    tested(config.selfTest ? await runSelfTest(ours, packages.require, entry, log) : [])
  } finally {
    tested([])
  }
}
