/** npm with the registry, for tests that install what a user would. */
import { type Outcome, run } from '../../scripts/workspace.ts'

/** npm hands its own settings down by the environment; here they would point back into this repository. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {}
  for (const name of Object.keys(process.env))
    if (name.startsWith('npm_') || /^(?:INIT_CWD|NODE_OPTIONS|VITEST.*|NODE_ENV)$/.test(name))
      env[name] = undefined
  return env
}

export function npm(args: readonly string[], cwd?: string): Promise<Outcome> {
  return run('npm', args, { env: cleanEnvironment(), ...(cwd !== undefined && { cwd }) })
}

/** Where the registry cannot be reached a newcomer's run leaves tests out; CI never does. */
export async function isRegistryReachable(): Promise<boolean> {
  return process.env.CI !== undefined || (await npm(['ping'])).code === 0
}
