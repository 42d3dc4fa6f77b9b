/**
 * The ES module loader: lets import-in-the-middle see the modules that some instrumentation patches, and no others,
 * so that bundles and everything else load as without it.
 */
import * as nodeModule from 'node:module'
import { Hook as RequireHook } from 'require-in-the-middle'
import type { Log } from './log.ts'

/**
 * Registers the loader: in this thread where Node can (`module.registerHooks`), else in one of its own. Once per process.
 *
 * `include` are package names, builtin names and patterns of URLs.
 */
export async function registerLoader(include: readonly (string | RegExp)[], log: Log): Promise<void> {
  const { register, supportsSyncHooks } = await import('import-in-the-middle/register-hooks.mjs')
  const options = { include: [...include] }
  if (supportsSyncHooks()) register(options)
  else nodeModule.register('import-in-the-middle/hook.mjs', import.meta.url, { data: options })
  for (const other of otherAgents()) warnOf(other, log)
}

function warnOf(agent: string, log: Log): void {
  log.once(`${agent} is loaded too: with two, either may disable the other’s hooks`)
}

/** Packages of agents, each of which requires files of its own even where it is imported. */
const PACKAGES = [
  ...['dd-trace', 'newrelic', 'elastic-apm-node', '@elastic/opentelemetry-node', '@sentry/node'],
  ...['@splunk/otel', 'appdynamics', '@dynatrace/oneagent', '@azure/monitor-opentelemetry'],
  'applicationinsights',
]

/** Names agents that are loaded from now on, by code or by other packages. Returns what ends it. */
export function watchForAgents(log: Log): { unhook(): void } {
  return new RequireHook(PACKAGES, { internals: true }, (exports, path) => {
    const [name = ''] = /^(?:@[^/]+\/)?[^/]+/.exec(path.replaceAll('\\', '/')) ?? []
    for (const [pattern, agent] of AGENTS) if (pattern.test(name)) warnOf(agent, log)
    return exports
  })
}

type Names = readonly (readonly [pattern: RegExp, name: string])[]

/** Other ways to the hooks of OpenTelemetry, as commands and environments name them. */
const LOADERS: Names = [
  [/auto-instrumentations-node\/register/, '@opentelemetry/auto-instrumentations-node/register'],
  [/opentelemetry\/instrumentation\/hook\.mjs/, '@opentelemetry/instrumentation/hook.mjs'],
  [/import-in-the-middle/, 'import-in-the-middle'],
]

/** Agents that patch modules themselves. */
const AGENTS: Names = [
  [/dd-trace/, 'dd-trace'],
  [/newrelic/, 'newrelic'],
  [/elastic-apm-node|@elastic\/opentelemetry-node/, 'Elastic APM'],
  [/@sentry\//, 'Sentry'],
  [/@splunk\/otel/, '@splunk/otel'],
  [/appdynamics/, 'AppDynamics'],
  [/@dynatrace\/|oneagent/, 'Dynatrace'],
  [/@azure\/monitor-opentelemetry|applicationinsights/, 'Azure Monitor'],
]

/**
 * Other agents: named when Node was started, or loaded as CommonJS before us. Those that come later `watchForAgents` sees;
 * whether hooks hold in spite of them is what the self-test says.
 */
export function otherAgents(
  execArgv: readonly string[] = process.execArgv,
  options: string | undefined = process.env.NODE_OPTIONS,
  loaded: readonly string[] = Object.keys(nodeModule.createRequire(import.meta.url).cache),
): string[] {
  const started = [...execArgv, options ?? ''].join(' ')
  const packages = loaded
    .flatMap((path) => path.replaceAll('\\', '/').split('/node_modules/').slice(1))
    .join(' ')
  return [...LOADERS, ...AGENTS].flatMap((one) => {
    const [pattern, name] = one
    return pattern.test(started) || (AGENTS.includes(one) && pattern.test(packages)) ? [name] : []
  })
}
