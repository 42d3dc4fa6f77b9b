/** A file replaced durably, with each operation failing: old content or new, and new once it said so. */
import fs from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { writeFileDurably } from '../../packages/collector/src/durable.ts'
import { faultyFiles, unsyncedFiles } from './files.ts'

const base = fs.mkdtempSync(join(tmpdir(), 'rootspan-durable-faults-'))
afterAll(() => fs.rmSync(base, { recursive: true }))

test('the content is the old one or the new one, and the new one once it resolved', async () => {
  for (const how of ['lost', 'kept', 'torn'] as const)
    for (const seed of [0, 1, 2, 3, 4, 5])
      for (let at = 0, struck = true; struck; at++) {
        const root = await mkdtemp(join(base, 'd-'))
        const path = join(root, 'memory')
        fs.writeFileSync(path, 'size 1')
        const files = faultyFiles(unsyncedFiles, root)
        files.fail({ at, how })
        let state = seed * 7919 + at + 1
        const coin = () => {
          state = (state * 48_271) % 0x7fff_ffff
          return seed > 0 && state % 2 === 0
        }
        const done = await writeFileDurably(files, path, Buffer.from('size 2, larger')).then(
          () => true,
          () => false,
        )
        struck = files.struck
        expect(done).toBe(!struck)
        await files.powerCut(coin)
        const content = fs.readFileSync(path, 'utf8')
        if (done) expect(content).toBe('size 2, larger')
        else expect(['size 1', 'size 2, larger']).toContain(content)
        files.fail(undefined)
        await writeFileDurably(files, path, Buffer.from('size 3'))
        await files.powerCut(coin)
        expect(fs.readFileSync(path, 'utf8')).toBe('size 3')
      }
})
