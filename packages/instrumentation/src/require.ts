/** Packages as the application itself would find them. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve, sep } from 'node:path'
import { pathToFileURL } from 'node:url'

export interface Resolver {
  (name: string): unknown
  readonly resolve: (name: string) => string
}

/** Packages as the application's entry file finds them. */
export function applicationPackages(entry: string | undefined = process.argv[1]): Packages {
  return packagesOf(resolve(entry === undefined ? '.' : dirname(entry), 'application.js'))
}

/** The URL of what a package is for `import`; undefined if it is the same as for `require`. */
function moduleOf(require: Resolver, name: string): string | undefined {
  const main = require.resolve(name)
  const directory = join('node_modules', name) + sep
  const at = main.lastIndexOf(directory)
  if (at === -1) return undefined
  const root = main.slice(0, at + directory.length)
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports?: unknown }
  const file = targetOf((exports as Conditions | undefined)?.['.'])
  return file === undefined ? undefined : pathToFileURL(join(root, file)).href
}

type Conditions = Readonly<Record<string, unknown>>

/** By the conditions that Node has for `import` (its documentation, "Conditional exports"). */
function targetOf(target: unknown): string | undefined {
  if (typeof target === 'string') return target
  if (typeof target !== 'object' || target === null) return undefined
  for (const [condition, inner] of Object.entries(target))
    if (condition === 'node' || condition === 'import' || condition === 'default') return targetOf(inner)
  return undefined
}

/** A package as this file would load it, of which it has one or two kinds. */
export interface Packages {
  readonly require: Resolver
  /** Undefined if it has nothing for `import` alone. */
  readonly import: (name: string) => Promise<unknown>
}

export function packagesOf(file: string): Packages {
  const require = createRequire(file)
  return {
    require,
    async import(name) {
      const url = moduleOf(require, name)
      return url === undefined ? undefined : ((await import(url)) as unknown)
    },
  }
}
