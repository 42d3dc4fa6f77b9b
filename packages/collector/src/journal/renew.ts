/** A journal begun anew: what is committed is still in its files, and after an erasure must not be. */
import { randomBytes } from 'node:crypto'
import { type Files, hasCode } from '../files.ts'
import { JournalCorruption } from './errors.ts'
import { TAG_BYTES } from './frame.ts'
import { createSegment } from './journal.ts'
import { segmentFirsts, segmentPath } from './segments.ts'

/**
 * Removes every segment but one that begins at `end`, the position after the last frame: all of them are committed.
 * The new segment is durable first, so that positions are never given out twice; then the oldest go first.
 */
export async function renewJournal(files: Files, directory: string, end: number): Promise<void> {
  const firsts = segmentFirsts(await files.readdir(directory))
  const last = firsts.at(-1)
  if (last === undefined || last > end)
    throw new JournalCorruption(directory, 0, 'it is not the journal of the last commit')
  if (last !== end) {
    const { file } = await createSegment(directory, files, end, randomBytes(TAG_BYTES))
    await file.close()
  }
  for (const first of firsts) {
    if (first >= end) continue
    await files.unlink(segmentPath(directory, first)).catch((error: unknown) => {
      if (!hasCode(error, 'ENOENT')) throw error
    })
    await files.fsyncDirectory(directory)
  }
}
