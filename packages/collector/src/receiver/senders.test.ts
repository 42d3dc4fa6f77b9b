import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { OperatorError } from '../operator-error.ts'
import { Refusal } from './receiver.ts'
import { authenticateBy, openSenders } from './senders.ts'

const SHOP = 'shop-token-of-these-tests'
const TEXT = `# who sends\nshop ${SHOP}\r\n\n  shop\tanother-token-of-the-shop  \npay pay-token-of-these-tests\n`

test('tells senders by their tokens, each of which may have several', () => {
  const authenticate = authenticateBy(TEXT)
  expect(authenticate({ authorization: `Bearer ${SHOP}` })).toBe('shop')
  expect(authenticate({ authorization: 'bearer another-token-of-the-shop' })).toBe('shop')
  expect(authenticate({ authorization: 'Bearer pay-token-of-these-tests' })).toBe('pay')
})

test.each([
  undefined,
  '',
  SHOP,
  `Basic ${SHOP}`,
  'Bearer',
  `Bearer ${SHOP}x`,
  `Bearer ${SHOP} pay`,
  'Bearer shop',
])('refuses %j', (authorization) => {
  const attempt = (): string => authenticateBy(TEXT)(authorization === undefined ? {} : { authorization })
  expect(attempt).toThrow(Refusal)
  expect(attempt).toThrow(expect.objectContaining({ code: 'unauthenticated' }))
})

describe('a file', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'rootspan-senders-'))
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  test.each([
    ['', 'it names no sender'],
    ['# nobody\n', 'it names no sender'],
    ['shop short', 'line 1 is not a name and a token'],
    [`\n${SHOP}`, 'line 2 is not a name and a token'],
    [`shop ${SHOP} more`, 'line 1 is not a name and a token'],
    [`shop ${SHOP}\npay ${SHOP}`, 'line 2 has the token of another line'],
    [`shop ${'x'.repeat(4097)}`, 'line 1 is not a name and a token'],
  ])('that holds %j is refused without a word of its tokens', async (text, message) => {
    const path = join(directory, 'senders')
    await writeFile(path, text)
    const error = await openSenders(path).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(OperatorError)
    expect((error as Error).message).toContain(message)
    expect((error as Error).message).not.toContain(SHOP)
  })

  test('that is not there, or too large, is refused', async () => {
    await expect(openSenders(join(directory, 'none'))).rejects.toThrow('it is not there')
    await writeFile(join(directory, 'large'), '#'.repeat(2 * 1024 * 1024))
    await expect(openSenders(join(directory, 'large'))).rejects.toThrow(OperatorError)
  })
})
