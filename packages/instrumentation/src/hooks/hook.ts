/** The one shape of a hook: an object for one library, in a file of its own. See jsonwebtoken.ts for an example. */
import type { Recorder } from '../recorder.ts'
import type { Listener, ListenOptions, ObserveOptions, Observer } from './observe.ts'

export interface Hook {
  /** Package name. Copies that other packages bring with them are hooked as well. */
  readonly library: string
  /** Versions that the hook knows, of which the first and a late one are tested; others are left alone, with one warning. */
  readonly versions: { readonly from: string; readonly before: string }
  /** What the self-test loads, for a package whose main module is not for Node. */
  readonly entry?: string
  /** Files that are patched beside the main module: paths within the package, without extension. */
  readonly files?: readonly string[]
  /**
   * Called for the main module of each copy of the library, and for each of `files`, when it is loaded. Modules are
   * loaded as CommonJS, as ES modules, or both; the calls are the same. May throw: the module then stays as it is.
   */
  patch(library: Library, recorder: Recorder): void
}

/** A module of a library that was just loaded. */
export interface Library {
  readonly version: string
  /** '' for the main module, else one of the hook's `files`. */
  readonly file: string
  /** An export by name; `default` is also `module.exports` itself. Undefined if there is none. */
  export(name: string): unknown
  /**
   * Observes a function. `target` is a path from the exports, such as `verify` or `OpenFgaClient.prototype.check`, or
   * an object and the name of its method. One that is missing is reported, unless `optional`.
   */
  observe(
    target: string | readonly [owner: object, name: string],
    observer: Observer,
    options?: ObserveOptions & { readonly optional?: boolean },
  ): void
  /** As `observe`, for whoever wants to hear of outcomes and no more. */
  listen(
    target: string | readonly [owner: object, name: string],
    listener: Listener,
    options?: ListenOptions & { readonly optional?: boolean },
  ): void
  /** Puts another value in the place of an export or a member, for what `observe` cannot do: factories, classes. */
  replace(target: string | readonly [owner: object, name: string], make: (original: unknown) => unknown): void
}
