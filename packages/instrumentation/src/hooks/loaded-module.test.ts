import { createRequire } from 'node:module'
import { expect, test } from 'vitest'
import { createLog } from '../log.ts'
import { LoadedModule } from './loaded-module.ts'
import { isObserved } from './observe.ts'

const log = createLog('silent')
const observer = () => undefined
const require = createRequire(import.meta.url)

function loaded(exports: unknown, format: 'require' | 'import' = 'require'): LoadedModule {
  return new LoadedModule(exports, format, '1.0.0', '', log)
}

test('CommonJS exports are changed in place', () => {
  const exports = { check: () => 1 }
  const module = loaded(exports)
  module.observe('check', observer)
  expect(module.value).toBe(exports)
  expect(isObserved(exports.check)).toBe(true)
  expect(module.missing()).toEqual([])
})

test('a module that is a function is replaced', () => {
  const module = loaded(() => 1)
  module.observe('default', observer)
  expect(isObserved(module.value)).toBe(true)
  expect((module.value as () => number)()).toBe(1)
  expect(module.missing()).toEqual([])
})

test('exports that cannot be written get a copy that leads to them', () => {
  let live = 1
  const exports = Object.defineProperties(
    {},
    {
      check: { get: () => () => 'checked', enumerable: true },
      live: { get: () => live, enumerable: true },
    },
  )
  const module = loaded(exports)
  module.observe('check', observer)
  const value = module.value as { check(): string; live: number }
  expect(value).not.toBe(exports)
  expect(value.check()).toBe('checked')
  expect(isObserved(value.check)).toBe(true)
  live = 2
  expect(value.live).toBe(2)
  expect(Object.keys(value)).toEqual(['check', 'live'])
  expect(module.missing()).toEqual([])
})

test('an ES module under require: jose', async () => {
  const jose = require('jose')
  const module = loaded(jose)
  module.observe('jwtVerify', observer)
  const value = module.value as typeof import('jose')
  expect(isObserved(value.jwtVerify)).toBe(true)
  expect(isObserved(jose.jwtVerify)).toBe(false)
  await expect(value.jwtVerify('x', new Uint8Array(32))).rejects.toThrow('Invalid Compact JWS')
  expect(module.missing()).toEqual([])
})

test('methods of prototypes, by path and by owner', () => {
  class Client {
    check() {
      return 1
    }
    list() {
      return 2
    }
  }
  const module = loaded({ Client })
  module.observe('Client.prototype.check', observer)
  module.observe([Client.prototype, 'list'], observer)
  expect(isObserved(Client.prototype.check) && isObserved(Client.prototype.list)).toBe(true)
  expect(Object.keys(Client.prototype)).toEqual([])
  expect(module.missing()).toEqual([])
})

test('an imported CommonJS module is changed by name and inside its default', () => {
  const exports = { check: () => 1, hidden: () => 2 }
  const namespace = { default: exports, check: exports.check, 'module.exports': exports }
  const module = loaded(namespace, 'import')
  module.observe('check', observer)
  module.observe('hidden', observer)
  expect(isObserved(namespace.check) && isObserved(exports.check) && isObserved(exports.hidden)).toBe(true)
  expect(module.missing()).toEqual([])
})

test('what is not there, or cannot be changed, is named', () => {
  const module = loaded({ frozen: Object.freeze({ check: () => 1 }) })
  module.observe('gone', observer)
  module.observe('Gone.prototype.check', observer)
  module.observe('maybe', observer, { optional: true })
  expect(module.missing()).toEqual(['gone', 'Gone.prototype.check'])
  expect(() => module.observe('frozen.check', observer)).toThrow(TypeError)
})
