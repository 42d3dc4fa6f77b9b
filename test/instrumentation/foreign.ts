/**
 * Programs that nobody here wrote, from the registry and unchanged. They are installed for the test, each with its own
 * packages; only OpenTelemetry's are the workspace's.
 */
import { symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'vitest'
import { root } from '../../scripts/workspace.ts'
import { makeDirectory, runProgram } from '../e2e/process.ts'
import type { Shown } from './support.ts'

export interface Programs {
  /** Where they are; undefined if the registry could not be reached. */
  readonly directory: string | undefined
  /** Why not. */
  readonly why: string
}

/** Installs exact versions. Where the registry cannot be reached, tests are skipped, but not in CI. */
export async function installPrograms(
  packages: Readonly<Record<string, string>>,
  overrides: Readonly<Record<string, string>> = {},
): Promise<Programs> {
  const directory = await makeDirectory()
  const manifest = { private: true, dependencies: packages, overrides }
  await writeFile(join(directory, 'package.json'), JSON.stringify(manifest))
  const flags = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--fetch-retries=1']
  // Proxies and mirrors are the environment's affair.
  const env = process.env as Record<string, string>
  const failure = await runProgram('npm', flags, { cwd: directory, env, millis: 240_000 }).then(
    ({ code, stderr }) => (code === 0 ? undefined : stderr),
    (error: Error) => error.message,
  )
  if (failure !== undefined) {
    if (process.env.CI !== undefined) throw new Error(`npm could not install: ${failure}`)
    return { directory: undefined, why: failure.split('\n', 1)[0]! }
  }
  await symlink(join(root, 'node_modules/@opentelemetry'), join(directory, 'node_modules/@opentelemetry'))
  return { directory, why: '' }
}

/** The directory of the programs, or the end of the test, said aloud. */
export function directoryOf({ directory, why }: Programs, { skip, task }: TestContext): string {
  if (directory !== undefined) return directory
  console.warn(`SKIPPED: programs of others: ${why}. With the npm registry: npx vitest run ${task.file.name}`)
  return skip(`npm could not install them: ${why}`)
}

/** The records above one, the nearest first. */
export function above(one: Shown): Shown[] {
  return one.above === undefined ? [] : [one.above, ...above(one.above)]
}
