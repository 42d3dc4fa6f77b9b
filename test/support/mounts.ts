/**
 * File systems of a test's own: in memory (`tmpfs`), and on loop devices (`loop`, power-disk.ts). Where none may be mounted
 * their tests are left out, but in CI (`CI=true`) only those of the kinds that `ROOTSPAN_NO_MOUNTS=tmpfs,loop` names: so that
 * no run is green because something that was there is gone. `.ci/run` finds out, and says so at its end.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export type Mount = 'tmpfs' | 'loop'

/** What `make` makes, or nothing where that may be left out: then `what` is not tested. */
export function tryMount<T>(kind: Mount, what: string, make: () => T): T | undefined {
  const remedy = 'run as root where loop devices may be mounted, with xfsprogs installed'
  if (process.env.ROOTSPAN_NO_MOUNTS?.split(',').includes(kind)) {
    console.warn(`ROOTSPAN_NO_MOUNTS names ${kind}: ${what} is not tested`)
    return undefined
  }
  try {
    return make()
  } catch (cause) {
    if (process.env.CI === 'true')
      throw new Error(`${what} cannot be tested: ${remedy}, or set ROOTSPAN_NO_MOUNTS=${kind}`, { cause })
    console.warn(`nothing can be mounted: ${what} is not tested; ${remedy} (${String(cause).trim()})`)
    return undefined
  }
}

/** Mounts a file system in memory of a size like `64m`; returns where. Throws where that is not permitted. */
export function mountMemory(size: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'rootspan-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', directory], { stdio: 'pipe' })
    return directory
  } catch (error) {
    rmSync(directory, { recursive: true })
    throw error
  }
}

/** Unmounts and removes it. Lazily: a test that failed may have left a file open. */
export function unmount(directory: string): void {
  execFileSync('umount', ['-l', directory])
  rmSync(directory, { recursive: true })
}
