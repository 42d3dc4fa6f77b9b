import pc from 'picocolors'
import { expect, test } from 'vitest'
import type { Config } from './config.ts'
import { createLogger, formatPretty } from './logger.ts'
import { OperatorError } from './operator-error.ts'
import { createSigningKey } from './signing-key.ts'

type Settings = Config['logs']

function logTo(settings: Partial<Settings> = {}, isTTY = false) {
  const lines: string[] = []
  const stream = { isTTY, write: (line: string) => lines.push(line) }
  return { lines, logger: createLogger({ level: 'info', format: 'auto', ...settings }, stream) }
}

test('writes JSON lines where nobody looks', () => {
  const { lines, logger } = logTo()
  logger.info({ spans: 3 }, 'committed')
  logger.debug('not this')
  expect(lines).toHaveLength(1)
  expect(lines[0]).toMatch(/\n$/)
  const { time, ...rest } = JSON.parse(lines[0]!)
  expect(rest).toEqual({ level: 'info', spans: 3, msg: 'committed' })
  expect(new Date(time).toJSON()).toBe(time)
})

test.each<[Settings['format'], boolean, boolean]>([
  ['auto', true, true],
  ['auto', false, false],
  ['pretty', false, true],
  ['json', true, false],
])('%s with a terminal %s is pretty %s', (format, isTTY, isPretty) => {
  const { lines, logger } = logTo({ format }, isTTY)
  logger.info('started')
  expect(lines[0]!.startsWith('{')).toBe(!isPretty)
})

test('is one readable line for people', () => {
  const line = JSON.stringify({
    level: 'warn',
    time: '2026-11-22T21:42:00.123Z',
    host: 'a',
    note: 'two words\nlines',
    list: [1],
    msg: 'pushed back',
  })
  expect(formatPretty(line, pc.createColors(false))).toBe(
    '21:42:00.123 WARN  pushed back host=a note="two words\\nlines" list=[1]\n',
  )
  expect(formatPretty('no JSON\n', pc.createColors(false))).toBe('no JSON\n')
})

test('shows the hint of what an operator can put right, and the stack of what is a bug', () => {
  const { lines, logger } = logTo({ format: 'pretty' })
  logger.error({ err: new OperatorError('it is gone', 'Put it back.') }, 'cannot sign')
  logger.error({ err: new Error('bad math') }, 'stopped')
  expect(lines[0]).toMatch(/ERROR cannot sign: it is gone\n {2}Put it back\.\n$/)
  expect(lines[1]).toMatch(/ERROR stopped: bad math\n {2}at /)
})

test.each(['json', 'pretty'] as const)('no secret gets into a %s line', (format) => {
  const { lines, logger } = logTo({ format })
  const key = createSigningKey('a/v0', new Uint8Array(32).fill(7))
  logger.info({ key }, 'a key')
  logger.info({ seed: 'hush', headers: { authorization: 'hush', other: 1 } }, 'fields')
  logger.error({ err: new Error(`bad ${key.privateText}`) }, `message ${key.privateText} end`)
  logger.info({ text: `"${key.privateText}"`, list: [key.privateText] }, 'nested')
  const all = lines.join('')
  expect(all).not.toContain(key.privateText.slice(-20))
  expect(all).not.toContain('hush')
  expect(all).toContain('[secret]')
  if (format === 'json') for (const line of lines) expect(() => JSON.parse(line)).not.toThrow()
})
