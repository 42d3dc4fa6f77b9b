/** Packages as the application itself would find them. */
import { createRequire } from 'node:module'
import { dirname, resolve } from 'node:path'

export interface Resolver {
  (name: string): unknown
  readonly resolve: (name: string) => string
}

/** Resolves packages as the application's entry file does. */
export function applicationRequire(entry: string | undefined = process.argv[1]): Resolver {
  return createRequire(resolve(entry === undefined ? '.' : dirname(entry), 'application.js'))
}
