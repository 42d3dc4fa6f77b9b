/**
 * A disk whose power can be cut: an ext4 file system on a loop device, whose image lies on XFS. A copy by reference of
 * that image (FICLONE) is, in one step, what the device has been given until then. What the kernel holds back in its page
 * cache is not in it, as nothing of it would be after a loss of power; and the file system itself has to recover.
 *
 * Known hole: what a drive acknowledges and keeps in a volatile cache. Here everything that reached the device stays.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { tryMount } from './mounts.ts'

/** XFS takes no less than 300 MiB. Neither image takes room before it is written to. */
const OUTER_BYTES = 2 ** 30
const DISK_BYTES = 2 ** 28

export class PowerDisk {
  readonly #root: string
  readonly #mounted: string[] = []
  #cuts = 0

  private constructor(root: string) {
    this.#root = root
  }

  /** Throws where mounting is not permitted, or a program is missing: mount, mkfs.xfs, mkfs.ext4, cp. */
  static create(): PowerDisk {
    const disk = new PowerDisk(mkdtempSync(join(tmpdir(), 'rootspan-power-')))
    try {
      disk.#make('outer', join(disk.#root, 'outer.img'), OUTER_BYTES, ['mkfs.xfs', '-q', '-m', 'reflink=1'])
      disk.#make('disk', join(disk.#root, 'outer', 'disk.img'), DISK_BYTES, ['mkfs.ext4', '-q', '-F'])
      return disk
    } catch (error) {
      disk.remove()
      throw error
    }
  }

  /** Where it is mounted. */
  get directory(): string {
    return join(this.#root, 'disk')
  }

  /** What would be left of it if its power failed now; it goes on. To be given to {@link open}. */
  cut(): string {
    const name = `cut-${this.#cuts++}`
    run('cp', ['--reflink=always', join(this.#root, 'outer', 'disk.img'), this.#image(name)])
    return name
  }

  /** Puts the power on again: mounts what was left, and returns where. */
  open(cut: string): string {
    return this.#mount(cut, this.#image(cut))
  }

  /** Lets go of what was left by a cut that was opened. */
  drop(cut: string): void {
    const directory = join(this.#root, cut)
    run('umount', [directory])
    this.#mounted.splice(this.#mounted.indexOf(directory), 1)
    rmSync(this.#image(cut))
  }

  /** Unmounts and removes everything. */
  remove(): void {
    // Lazily: after a failure, a collector may still have files open.
    for (const directory of this.#mounted.splice(0).reverse()) run('umount', ['-l', directory])
    rmSync(this.#root, { recursive: true, force: true })
  }

  #image(name: string): string {
    return join(this.#root, 'outer', `${name}.img`)
  }

  #make(name: string, image: string, bytes: number, [program, ...options]: readonly string[]): void {
    writeFileSync(image, '')
    truncateSync(image, bytes)
    run(program!, [...options, image])
    this.#mount(name, image)
  }

  #mount(name: string, image: string): string {
    const directory = join(this.#root, name)
    mkdirSync(directory)
    run('mount', ['-o', 'loop', image, directory])
    this.#mounted.push(directory)
    return directory
  }
}

/** A disk, or nothing where its tests may be left out. */
export function tryPowerDisk(): PowerDisk | undefined {
  return tryMount('loop', 'a loss of power', () => PowerDisk.create())
}

function run(program: string, options: readonly string[]): void {
  const PATH = `${process.env.PATH}:/usr/sbin:/sbin`
  execFileSync(program, options, { stdio: 'pipe', env: { ...process.env, PATH } })
}
