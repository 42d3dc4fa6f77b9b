/** Middleware in the form of Express: what it says by calling `next`. */
import { context as contexts } from '@opentelemetry/api'
import { runtime } from '../runtime.ts'
import { type Call, tell } from './observe.ts'

/**
 * Has `told` hear the error, or none, with which a middleware calls `next` for the first time. It runs in the caller's
 * context, as does what comes behind the middleware: neither is part of the call.
 */
export function watchNext(call: Call, told: (error: unknown) => void): void {
  const next = call.args[2]
  if (typeof next !== 'function') return
  const { context: outer } = call
  let isTold = false
  call.substitute(2, function (this: unknown, ...args: unknown[]): unknown {
    return contexts.with(outer, () => {
      if (!isTold) {
        isTold = true
        tell(told, args[0], runtime().log)
      }
      return Reflect.apply(next, this, args)
    })
  })
}
