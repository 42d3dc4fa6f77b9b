/**
 * The exports of a module that was just loaded, as hooks change them.
 *
 * CommonJS exports are changed in place, as are the setters of an import-in-the-middle namespace. Where the exports
 * cannot be written (an ES module under `require`, getters that a bundler made), a copy that leads to them takes their
 * place.
 */
import type { Log } from '../log.ts'
import type { Library } from './hook.ts'
import {
  isObserved,
  type Listener,
  type ListenOptions,
  listen,
  type ObserveOptions,
  type Observer,
  observe,
} from './observe.ts'

type Members = Record<string, unknown>
type Target = string | readonly [owner: object, name: string]

/** Values that took the place of others, of all modules. */
const replacements = new WeakSet<object>()

export class LoadedModule implements Library {
  readonly version: string
  readonly file: string
  readonly #isNamespace: boolean
  readonly #log: Log
  readonly #checks: { readonly name: string; readonly read: () => unknown }[] = []
  /** What was observed or replaced by a path from the exports. */
  readonly #paths = new Set<string>()
  readonly #absent: string[] = []
  #exports: unknown

  constructor(exports: unknown, format: 'require' | 'import', version: string, file: string, log: Log) {
    this.#exports = exports
    this.#isNamespace = format === 'import'
    this.version = version
    this.file = file
    this.#log = log
  }

  /** The exports that take the place of those that were loaded; mostly the same object. */
  get value(): unknown {
    return this.#exports
  }

  export(name: string): unknown {
    const exports = this.#exports as Members
    if (!isObject(exports)) return name === 'default' ? exports : undefined
    const found = exports[name]
    if (found !== undefined) return found
    // All of a CommonJS module is its default; names that Node did not see are members of that.
    if (!this.#isNamespace) return name === 'default' ? exports : undefined
    return isObject(exports.default) ? (exports.default as Members)[name] : undefined
  }

  observe(target: Target, observer: Observer, options: ObserveOptions & { optional?: boolean } = {}): void {
    this.#observe(target, options, (original) => observe(original, observer, this.#log, options))
  }

  listen(target: Target, listener: Listener, options: ListenOptions & { optional?: boolean } = {}): void {
    this.#observe(target, options, (original) => listen(original, listener, this.#log, options))
  }

  #observe(target: Target, { optional }: { optional?: boolean }, make: (original: unknown) => unknown): void {
    const place = this.#place(target)
    if (typeof place?.original !== 'function') {
      if (optional !== true) this.#absent.push(nameOf(target))
      return
    }
    place.put(make(place.original))
    this.#checks.push({ name: nameOf(target), read: () => this.#place(target)?.original })
    if (typeof target === 'string') this.#paths.add(target)
  }

  replace(target: Target, make: (original: unknown) => unknown): void {
    const place = this.#place(target)
    if (place?.original === undefined) {
      this.#absent.push(nameOf(target))
      return
    }
    const value = make(place.original)
    place.put(value)
    if (this.#place(target)?.original !== value) this.#absent.push(nameOf(target))
    else if (value !== place.original && isObject(value)) {
      replacements.add(value)
      if (typeof target === 'string') this.#paths.add(target)
    }
  }

  /** Reads back what was observed: names of what was not there, or is not observed in spite of everything. */
  missing(): string[] {
    return [
      ...this.#absent,
      ...this.#checks.filter(({ read }) => !isObserved(read())).map(({ name }) => name),
    ]
  }

  /**
   * Paths at which `received`, which somebody got of this library, has something that is not ours though ours is here.
   * It may be another module of the library: what it does not have is not asked for.
   */
  lostIn(received: unknown, format: 'require' | 'import'): string[] {
    const other = new LoadedModule(received, format, this.version, this.file, this.#log)
    return [...this.#paths].filter((path) => {
      const found = other.#place(path)?.original
      return isObject(found) && !isOurs(found) && isOurs(this.#place(path)?.original)
    })
  }

  #place(target: Target): { original: unknown; put: (value: unknown) => void } | undefined {
    if (typeof target !== 'string') return member(target[0], target[1])
    const [first = '', ...rest] = target.split('.')
    let owner = this.export(first)
    if (rest.length === 0) return { original: owner, put: (value) => this.#put(first, value) }
    const name = rest.pop()!
    for (const step of rest) owner = isObject(owner) ? (owner as Members)[step] : undefined
    return isObject(owner) ? member(owner, name) : undefined
  }

  #put(name: string, value: unknown): void {
    const original = this.export(name)
    if (!isObject(this.#exports) || (name === 'default' && original === this.#exports)) {
      this.#exports = value
      return
    }
    if (!this.#isNamespace) {
      this.#exports = withMember(this.#exports, name, value)
      return
    }
    const namespace = this.#exports as Members
    if (name in namespace) namespace[name] = value
    // `import library from` gives the CommonJS exports themselves; newer Nodes name them a second time.
    for (const whole of ['default', 'module.exports']) {
      const inner = namespace[whole]
      if (name === 'default' || !isObject(inner) || (inner as Members)[name] !== original) continue
      const changed = withMember(inner, name, value)
      if (changed !== inner) namespace[whole] = changed
    }
  }
}

function member(owner: object, name: string): { original: unknown; put: (value: unknown) => void } {
  const put = (value: unknown): void => {
    if (withMember(owner, name, value) !== owner) throw new TypeError('a member cannot be replaced')
  }
  return { original: (owner as Members)[name], put }
}

/** Sets a member in place, or returns a copy of `owner` that leads to it and has the member. */
function withMember(owner: object, name: string, value: unknown): object {
  const descriptor = Object.getOwnPropertyDescriptor(owner, name)
  if (descriptor?.configurable || (descriptor === undefined && Object.isExtensible(owner))) {
    const { enumerable = false } = descriptor ?? {}
    Object.defineProperty(owner, name, { value, enumerable, writable: true, configurable: true })
    return owner
  }
  // An ES module says that its exports are writable and throws when they are written.
  if (descriptor?.writable && Reflect.set(owner, name, value) && (owner as Members)[name] === value)
    return owner
  if (typeof owner === 'function') throw new TypeError('a function whose members cannot be written')
  const copy: object = Object.create(Object.getPrototypeOf(owner))
  for (const key of Reflect.ownKeys(owner)) {
    const { enumerable = false } = Object.getOwnPropertyDescriptor(owner, key)!
    const read = (): unknown => (owner as Record<string | symbol, unknown>)[key]
    Object.defineProperty(copy, key, { get: read, enumerable, configurable: true })
  }
  Object.defineProperty(copy, name, { value, enumerable: true, writable: true, configurable: true })
  return copy
}

function isOurs(value: unknown): boolean {
  return isObserved(value) || (isObject(value) && replacements.has(value))
}

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

function nameOf(target: Target): string {
  return typeof target === 'string' ? target : target[1]
}
