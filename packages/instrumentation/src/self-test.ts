/**
 * The self-test: loads the supported libraries that the application itself depends on, as it would load them, and
 * asks whether the functions that it gets are really observed. "Hooks not effective" is then visible and not silent.
 *
 * Others that these bring along, as express-jwt does jsonwebtoken, are loaded with them, and named. One that something else
 * brings along is not: to load what the application may never load is not for us.
 */
import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { dirname, join, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { HookReport, RootspanInstrumentation } from './hooks/install.ts'
import type { Log } from './log.ts'
import type { Resolver } from './require.ts'

/** Runs it and says the result; resolves with one line for each library: `jsonwebtoken@9.0.3 effective`. */
export async function runSelfTest(
  instrumentation: RootspanInstrumentation,
  require: Resolver,
  entry: string | undefined,
  log: Log,
): Promise<string[]> {
  const application = applicationOf(entry)
  const found: string[] = []
  for (const { library, entry: name = library } of instrumentation.hooks) {
    if (!application.dependencies.has(library)) continue
    const before = new Set(instrumentation.reports)
    const format = application.isModule ? 'import' : 'require'
    let received: unknown
    try {
      if (!application.isModule) received = require(name)
      else if (isSameCopy(library, name, entry)) received = await import(name)
      else {
        found.push(`${library} not tested`)
        continue
      }
    } catch (error) {
      found.push(`${library} not loaded`)
      log.failed(`loading ${library} for the self-test`, error)
      continue
    }
    const reports = instrumentation.reports.filter((one) => one.library === library)
    const fresh = reports.find((one) => !before.has(one)) ?? reports[0]
    // Another hook that comes after ours decides what the application gets.
    const isLost = reports.some((one) => one.lostIn(received, format).length > 0)
    found.push(
      fresh === undefined
        ? `${library} not effective`
        : `${library}@${fresh.version} ${isLost ? 'replaced' : fresh.state}`,
    )
  }
  const bad = found.filter((line) => !/@\S+ effective$| not tested$/.test(line))
  found.push(...broughtAlong(instrumentation.reports, found))
  if (found.length > 0) log.info(`hooks: ${found.join(', ')}`)
  if (bad.length > 0)
    log.warn(
      `hooks that have not taken hold: ${bad.join(', ')}; a module loader or agent that was started before may be in the way: start this one first`,
    )
  return found
}

/** A line for each copy that others have loaded meanwhile. What is wrong with one was said then. */
function broughtAlong(reports: readonly HookReport[], found: readonly string[]): string[] {
  const states = new Map<string, HookReport['state']>()
  for (const { library, version, state } of reports) {
    const copy = `${library}@${version}`
    if (found.some((line) => line.startsWith(`${copy} `))) continue
    const known = states.get(copy)
    if (known === undefined || known === 'effective') states.set(copy, state)
  }
  return [...states].map(([copy, state]) => `${copy} ${state}`)
}

interface Application {
  readonly isModule: boolean
  readonly dependencies: ReadonlySet<string>
}

/** By the nearest package.json above the entry file. */
function applicationOf(entry: string | undefined): Application {
  for (
    let directory = entry === undefined ? process.cwd() : dirname(entry);
    ;
    directory = dirname(directory)
  ) {
    try {
      const text = readFileSync(join(directory, 'package.json'), 'utf8')
      const { type, dependencies } = JSON.parse(text) as { type?: string; dependencies?: object }
      const isModule = /\.m[jt]s$/.test(entry ?? '') || (type === 'module' && !/\.c[jt]s$/.test(entry ?? ''))
      return { isModule, dependencies: new Set(Object.keys(dependencies ?? {})) }
    } catch {
      if (dirname(directory) === directory) return { isModule: false, dependencies: new Set() }
    }
  }
}

/** Whether an import from here finds the application's copy. Only its bare name makes the loader see a main module. */
function isSameCopy(library: string, name: string, entry: string | undefined): boolean {
  const manifest = findPackageJSON(library, pathToFileURL(entry ?? join(process.cwd(), 'application.js')))
  return (
    manifest !== undefined &&
    import.meta.resolve(name).startsWith(pathToFileURL(join(manifest, '..', sep)).href)
  )
}
