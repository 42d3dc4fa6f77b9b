/**
 * Puts hooks into the libraries when they are loaded: by `require`, by `import`, or by both.
 *
 * Talks to require-in-the-middle and import-in-the-middle itself rather than through OpenTelemetry's
 * `InstrumentationBase`: that pins `@opentelemetry/api` to one minor version, is silent about versions that it does
 * not know, and cannot put a new object in the place of exports that cannot be written. To OpenTelemetry the whole set
 * is one `Instrumentation`.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Hook as ImportHook } from 'import-in-the-middle'
import { Hook as RequireHook } from 'require-in-the-middle'
import { watchForAgents } from '../loader.ts'
import type { Runtime } from '../runtime.ts'
import { NAME, VERSION } from '../version.ts'
import type { Hook } from './hook.ts'
import type { HttpHook } from './http/exchange.ts'
import { listenToHttp } from './http/listen.ts'
import { LoadedModule } from './loaded-module.ts'

/** How one hook fared with one module of one copy of a library. */
export interface HookReport {
  readonly library: string
  readonly version: string
  readonly file: string
  readonly format: 'require' | 'import'
  /** `partial`: something that the hook looks for is not there; `missing` says what. */
  readonly state: 'effective' | 'partial' | 'failed' | 'unknown version'
  readonly missing: readonly string[]
  /** What somebody received of the library that is not hooked though it is here; see {@link LoadedModule.lostIn}. */
  readonly lostIn: (received: unknown, format: 'require' | 'import') => readonly string[]
}

/** OpenTelemetry's `Instrumentation`, as all its versions have it. */
export class RootspanInstrumentation {
  readonly instrumentationName = NAME
  readonly instrumentationVersion = VERSION
  readonly hooks: readonly Hook[]
  readonly #httpHooks: readonly HttpHook[]
  readonly #parts: Pick<Runtime, 'recorder' | 'log' | 'scopes'>
  readonly #reports = new Map<string, HookReport>()
  #active: { unhook(): void }[] = []

  /** Does nothing yet: `enable` does, and OpenTelemetry calls it. */
  constructor(
    hooks: readonly Hook[],
    httpHooks: readonly HttpHook[],
    parts: Pick<Runtime, 'recorder' | 'log' | 'scopes'>,
  ) {
    this.hooks = hooks
    this.#httpHooks = httpHooks
    this.#parts = parts
  }

  /** What became of the libraries that were loaded so far. */
  get reports(): readonly HookReport[] {
    return [...this.#reports.values()]
  }

  /** Hooks libraries that are loaded, and requests that are made, from now on. */
  enable(): void {
    if (this.#active.length > 0) return
    if (this.#httpHooks.length > 0) this.#active.push({ unhook: listenToHttp(this.#httpHooks, this.#parts) })
    if (this.hooks.length === 0) return
    const libraries = this.hooks.map(({ library }) => library)
    const options = { internals: true }
    // Files by name too: without a main module that can be required, the library's own name does not lead to them.
    const names = this.hooks.flatMap(({ library, files = [] }) => [
      library,
      ...files.map((file) => `${library}/${file}`),
    ])
    const required = new RequireHook(names, options, (exports, name, directory) =>
      this.#patch(exports, name, directory, 'require'),
    )
    const imported = new ImportHook(libraries, options, (namespace, name, directory) => {
      this.#patch(namespace, name, directory ?? undefined, 'import')
    })
    this.#active.push(required, imported, watchForAgents(this.#parts.log))
  }

  /** Libraries that are loaded already stay hooked. */
  disable(): void {
    for (const one of this.#active) one.unhook()
    this.#active = []
  }

  setTracerProvider(): void {}
  setMeterProvider(): void {}
  setConfig(): void {}
  getConfig(): { enabled: boolean } {
    return { enabled: this.#active.length > 0 }
  }

  /** Returns what the application is to get in the place of `exports`. */
  #patch<T>(exports: T, name: string, directory: string | undefined, format: HookReport['format']): T {
    const { log, recorder } = this.#parts
    try {
      const place = directory === undefined ? undefined : this.#find(name)
      if (place === undefined) return exports
      const { hook, file } = place
      const { library } = hook
      const version = versionOf(directory!)
      const report = (state: HookReport['state'], module?: LoadedModule): readonly string[] => {
        const missing = module?.missing() ?? []
        this.#reports.set(`${directory} ${file} ${format}`, {
          library,
          version,
          file,
          format,
          state: missing.length > 0 ? 'partial' : state,
          missing,
          lostIn: (received, as) => module?.lostIn(received, as) ?? [],
        })
        return missing
      }
      if (!isWithin(version, hook.versions)) {
        report('unknown version')
        log.once(
          `${library} ${version} is left alone: its hook knows ${hook.versions.from} to below ${hook.versions.before}`,
        )
        return exports
      }
      const module = new LoadedModule(exports, format, version, file, log)
      try {
        hook.patch(module, recorder)
      } catch (error) {
        report('failed')
        log.failed(`the hook of ${library} ${version}`, error)
        return exports
      }
      const missing = report('effective', module)
      if (missing.length > 0) log.once(`${library} ${version}: not hooked: ${missing.join(', ')}`)
      return module.value as T
    } catch (error) {
      log.failed(`hooking ${name}`, error)
      return exports
    }
  }

  /** The hook for a module, named by its package and, behind it, its path in the package. */
  #find(name: string): { hook: Hook; file: string } | undefined {
    const path = name.replaceAll('\\', '/')
    for (const hook of this.hooks) {
      if (path === hook.library) return { hook, file: '' }
      if (!path.startsWith(`${hook.library}/`)) continue
      const file = path.slice(hook.library.length + 1).replace(/\.[cm]?js$/, '')
      if (hook.files?.includes(file)) return { hook, file }
    }
    return undefined
  }
}

/** What an ES module loader has to look at, so that it leaves everything else alone: bare names and URLs. */
export function includesOf(hooks: readonly Hook[]): (string | RegExp)[] {
  return hooks.flatMap(({ library, files = [] }) => [
    library,
    ...files.map((file) => new RegExp(`/node_modules/${quote(library)}/${quote(file)}\\.[cm]?js$`)),
  ])
}

function quote(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

function versionOf(directory: string): string {
  const manifest: unknown = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'))
  const { version } = manifest as { version?: unknown }
  return typeof version === 'string' ? version : '0.0.0'
}

/** Compares the numbers of versions; a prerelease counts as its release. */
function isWithin(version: string, { from, before }: Hook['versions']): boolean {
  return compare(version, from) >= 0 && compare(version, before) < 0
}

function compare(a: string, b: string): number {
  const [x, y] = [a, b].map((text) => text.split(/[-+]/)[0]!.split('.').map(Number)) as [number[], number[]]
  for (let at = 0; at < 3; at++) {
    const difference = (x[at] ?? 0) - (y[at] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
