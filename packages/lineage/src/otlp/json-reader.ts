/**
 * A pull reader of JSON (RFC 8259) that builds nothing: numbers stay text, so that 64 bits survive, no key ever
 * becomes a property, and a body of ten million empty objects costs no more memory than its text.
 *
 * The caller asks for what it expects at the current position; `path` says where that is.
 */
import { MalformedError } from '../errors.ts'

/** Deepest nesting of arrays and objects. */
const MAX_JSON_DEPTH = 200

/** Longest path in an error message: keys come from the sender. */
const MAX_PATH = 200

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y

export type JsonKind = 'object' | 'array' | 'string' | 'number' | 'boolean' | 'null'

export class JsonReader {
  readonly #text: string
  #at = 0
  readonly #path: (string | number)[] = []

  constructor(text: string) {
    this.#text = text
  }

  /** Where the reader is, as `resourceSpans[0].scopeSpans[1].name`; empty at the top. */
  get path(): string {
    let out = ''
    for (const part of this.#path) {
      if (typeof part === 'number') out += `[${part}]`
      else out += out === '' ? part : `.${part}`
      if (out.length > MAX_PATH) return `${out.slice(0, MAX_PATH)}...`
    }
    return out
  }

  /** What kind of value comes next. */
  peek(): JsonKind {
    switch (this.#next()) {
      case 0x7b:
        return 'object'
      case 0x5b:
        return 'array'
      case 0x22:
        return 'string'
      case 0x74:
      case 0x66:
        return 'boolean'
      case 0x6e:
        return 'null'
      default:
        return 'number' // or nothing, which number() refuses
    }
  }

  /** Reads an object; `each` must read the value of its key. Keys may repeat. */
  members(each: (key: string) => void): void {
    this.#enter(0x7b, 'an object')
    if (this.#next() === 0x7d) this.#at++
    else
      for (;;) {
        if (this.#next() !== 0x22) this.#fail('a key is expected')
        const key = this.#string()
        if (this.#next() !== 0x3a) this.#fail('":" is expected')
        this.#at++
        this.#path.push(key)
        each(key)
        this.#path.pop()
        if (this.#closes(0x7d)) break
      }
  }

  /** Reads an array; `each` must read the item. */
  items(each: (index: number) => void): void {
    this.#enter(0x5b, 'an array')
    if (this.#next() === 0x5d) this.#at++
    else
      for (let index = 0; ; index++) {
        this.#path.push(index)
        each(index)
        this.#path.pop()
        if (this.#closes(0x5d)) break
      }
  }

  string(): string {
    if (this.#next() !== 0x22) this.#fail('a string is expected')
    return this.#string()
  }

  /** The text of a number. */
  number(): string {
    this.#next()
    NUMBER.lastIndex = this.#at
    const source = NUMBER.exec(this.#text)?.[0] ?? this.#fail('a value is expected')
    this.#at += source.length
    return source
  }

  boolean(): boolean {
    const value = this.#next() === 0x74
    this.#word(value ? 'true' : 'false')
    return value
  }

  null(): void {
    this.#next()
    this.#word('null')
  }

  /** Reads a value of any kind and forgets it. */
  skip(): void {
    const kind = this.peek()
    if (kind === 'object') this.members(() => this.skip())
    else if (kind === 'array') this.items(() => this.skip())
    else if (kind === 'string') this.string()
    else if (kind === 'boolean') this.boolean()
    else if (kind === 'null') this.null()
    else this.number()
  }

  /** Demands that nothing but white space is left. */
  end(): void {
    this.#next()
    if (this.#at < this.#text.length) this.#fail('something follows the value')
  }

  /** Skips white space; the next character's code, NaN at the end. */
  #next(): number {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at)
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code
      this.#at++
    }
  }

  #enter(bracket: number, what: string): void {
    if (this.#next() !== bracket) this.#fail(`${what} is expected`)
    if (this.#path.length >= MAX_JSON_DEPTH) throw new MalformedError('JSON is nested too deeply')
    this.#at++
  }

  #closes(bracket: number): boolean {
    const code = this.#next()
    if (code !== 0x2c && code !== bracket) this.#fail('"," or a closing bracket is expected')
    this.#at++
    return code === bracket
  }

  #word(word: string): void {
    if (!this.#text.startsWith(word, this.#at)) this.#fail('a value is expected')
    this.#at += word.length
  }

  #string(): string {
    const text = this.#text
    const start = this.#at + 1
    let plain = true
    for (let at = start; at < text.length; at++) {
      const code = text.charCodeAt(at)
      if (code === 0x22) {
        this.#at = at + 1
        return plain ? text.slice(start, at) : this.#unescape(text.slice(start - 1, at + 1))
      }
      if (code === 0x5c) {
        plain = false
        at++
      } else if (code < 0x20) this.#fail('a string has a control character')
    }
    return this.#fail('a string is cut off')
  }

  #unescape(quoted: string): string {
    try {
      return JSON.parse(quoted) as string
    } catch {
      return this.#fail('a string has a bad escape')
    }
  }

  #fail(problem: string): never {
    throw new MalformedError(
      'not JSON',
      `${problem} at ${this.#at}${this.#path.length > 0 ? ` (${this.path})` : ''}`,
    )
  }
}
