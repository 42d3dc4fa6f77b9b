/** Reading small files as a whole: the counterpart of `durable.ts`. */
import { MalformedError } from '@rootspan/lineage/errors'
import { type Files, hasCode, readFully } from './files.ts'

/** The bytes of a file, or undefined when there is none. A file over `maxBytes` is a {@link MalformedError}. */
export async function readSmallFile(
  files: Files,
  path: string,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  try {
    const file = await files.open(path, 'read')
    try {
      const size = await file.size()
      if (size > maxBytes) throw new MalformedError(`a file is over ${maxBytes} bytes long`)
      const bytes = new Uint8Array(size)
      return bytes.subarray(0, await readFully(file, bytes, 0))
    } finally {
      await file.close()
    }
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    // What fails on an open file does not say on which.
    const { code, path: named } = error as NodeJS.ErrnoException
    if (code === undefined || named !== undefined) throw error
    throw Object.assign(new Error(`${path}: ${(error as Error).message}`), { code, path })
  }
}
