/** Small files that are replaced as a whole (the signer's memory, `log.json`, keys), and directories. */
import { dirname, resolve } from 'node:path'
import { type Files, hasCode, writeFully } from './files.ts'

/**
 * Replaces a file durably: after a crash at any moment there is either the old content or the new one, and once
 * this resolves there is the new one. When it rejects, either may be there.
 *
 * Order: the new bytes are synced under another name (`<path>.tmp`) before the rename makes them true; the
 * directory is synced after it. One writer per path: the temporary name is always the same, so that a crash leaves
 * at most one stray file, which the next call removes. `permissions` are those of the new file, before umask.
 */
export async function writeFileDurably(
  files: Files,
  path: string,
  bytes: Uint8Array,
  permissions = 0o600,
): Promise<void> {
  const temporary = `${path}.tmp`
  await files.unlink(temporary).catch((error: unknown) => {
    if (!hasCode(error, 'ENOENT')) throw error
  })
  const file = await files.open(temporary, 'create', permissions)
  try {
    await writeFully(file, [bytes], 0)
    await file.fdatasync()
  } finally {
    await file.close()
  }
  await files.rename(temporary, path)
  await files.fsyncDirectory(dirname(path))
}

/**
 * Makes a directory, its missing parents included, and their names durable. The content of a directory is only as
 * durable as its name in its parent.
 */
export async function makeDirectory(files: Files, path: string): Promise<void> {
  const created = await files.mkdir(path)
  if (created === undefined) return
  for (let made = resolve(path); ; made = dirname(made)) {
    await files.fsyncDirectory(dirname(made))
    if (made === resolve(created) || made === dirname(made)) break
  }
}
