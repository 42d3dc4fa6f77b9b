/**
 * A process that appends to a journal until it is killed: prints `<position> <number>` for each acknowledged frame,
 * whose body is {@link numberedBody} of the number. Arguments: directory, first number.
 */
import { createHash } from 'node:crypto'
import { writeSync } from 'node:fs'
import { nodeFiles } from '../../packages/collector/src/files.ts'
import { openJournal } from '../../packages/collector/src/journal/journal.ts'

/** Bytes that follow from the number alone, 1 to 20,000 of them. */
export function numberedBody(number: number): Buffer {
  const seed = createHash('sha256').update(`body ${number}`).digest()
  return Buffer.alloc(1 + (seed.readUInt32BE(0) % 20_000), seed)
}

async function main(directory: string, first: number): Promise<void> {
  const journal = await openJournal({
    directory,
    files: nodeFiles,
    log: { info() {}, warn() {} },
    segmentBytes: 300_000,
    maxBytes: 1e9,
    minFreeBytes: 0,
  })
  let next = first
  const appendOn = async (): Promise<never> => {
    for (;;) {
      const number = next++
      const receipt = Buffer.from(String(number))
      const position = await journal.append({ seed: Buffer.alloc(32), receipt, body: numberedBody(number) })
      writeSync(1, `${position} ${number}\n`)
    }
  }
  await Promise.all(Array.from({ length: 8 }, appendOn))
}

const [, script, directory, first] = process.argv
if (script?.endsWith('appender.ts') && directory !== undefined) await main(directory, Number(first))
