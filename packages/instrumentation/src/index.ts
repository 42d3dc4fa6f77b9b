/**
 * In code, beside a set-up of one's own:
 *
 *     new NodeSDK({
 *       instrumentations: [rootspanInstrumentations(), ...],
 *       sampler: rootspanSampler(mine),
 *       spanProcessors: [new RootspanSpanProcessor(), ...],
 *     })
 */
import { HOOKS, HTTP_HOOKS } from './hooks/all.ts'
import { RootspanInstrumentation } from './hooks/install.ts'
import { runtime } from './runtime.ts'

export {
  actionDigest,
  type ExecutionOptions,
  type GovernedAction,
  governedAction,
  type RecordedDecision,
  RefusedError,
  recordDecision,
  recordTransition,
  recordVerification,
  withAuthorization,
  withExecution,
} from './api.ts'
export type { Action, Authorization, Decision, Transition, Verification } from './facts.ts'
export { type Gated, GateError, type GateOptions, gate } from './gate.ts'
export { exceptGoverned, RootspanSpanProcessor } from './processor.ts'
export { rootspanSampler } from './sampler.ts'

/** The hooks. Modules that were loaded before they are enabled stay as they are. */
export function rootspanInstrumentations(): RootspanInstrumentation[] {
  const shared = runtime()
  const hooks = HOOKS.filter(({ library }) => !shared.config.disabledHooks.has(library))
  const httpHooks = HTTP_HOOKS.filter(({ name }) => !shared.config.disabledHooks.has(name))
  return [new RootspanInstrumentation(hooks, httpHooks, shared)]
}
