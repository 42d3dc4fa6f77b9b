/** Prints which file systems tests cannot mount here, as `ROOTSPAN_NO_MOUNTS` takes them, and on stderr why. */
import { type Mount, mountMemory, unmount } from '../test/support/mounts.ts'
import { PowerDisk } from '../test/support/power-disk.ts'

const tries: Readonly<Record<Mount, () => void>> = {
  tmpfs: () => unmount(mountMemory('1m')),
  loop: () => {
    const disk = PowerDisk.create()
    try {
      const cut = disk.cut()
      disk.open(cut)
      disk.drop(cut)
    } finally {
      disk.remove()
    }
  },
}

const failed = Object.entries(tries).filter(([kind, attempt]) => {
  try {
    attempt()
    return false
  } catch (error) {
    console.error(`${kind} cannot be mounted here: ${String(error).trim()}`)
    return true
  }
})
console.log(failed.map(([kind]) => kind).join())
