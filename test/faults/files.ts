/**
 * A file layer that fails on demand and forgets on power loss.
 *
 * It works on real files through another {@link Files} and keeps beside them what a disk would have: per file an
 * image that only a sync brings up to date, per directory the names as of its last sync. {@link FaultyFiles.powerCut}
 * turns the real files into that. A sync that fails leaves the pages clean and the disk as it was, as Linux does: a
 * later sync of the same file succeeds and brings nothing of them to the disk, unless they were written again.
 *
 * Holes of the model: a directory itself is durable as soon as it is made, and every file is in one root directory.
 */
import fs from 'node:fs'
import { basename, join } from 'node:path'
import {
  type DurableFile,
  type Files,
  nodeFiles,
  type OpenMode,
  systemError,
} from '../../packages/collector/src/files.ts'

/** Operations that change what is, or will be, on the disk. */
export type OperationKind =
  | 'create'
  | 'write'
  | 'truncate'
  | 'fdatasync'
  | 'rename'
  | 'unlink'
  | 'mkdir'
  | 'fsyncDirectory'

export interface Operation {
  readonly kind: OperationKind
  readonly name: string
  readonly bytes?: number
}

export interface Fault {
  /** Counted over all operations, or over those of `kind`, from 0. */
  readonly at: number
  readonly kind?: OperationKind
  /** `lost`: nothing happens; `kept`: it happens; `torn`: half of a write happens. An error comes in any case. */
  readonly how: 'lost' | 'kept' | 'torn'
  readonly code?: string
}

/** A change of a file that was not synced: bytes at an offset, or a new size. */
type Change = { readonly offset: number; readonly bytes: Buffer } | { readonly size: number }

interface Inode {
  image: Buffer
  dirty: Change[]
}

export interface FaultyFiles extends Files {
  readonly operations: Operation[]
  /** Replaces the fault to come. */
  fail(fault: Fault | undefined): void
  /** Whether the fault has come. */
  readonly struck: boolean
  /** Every write takes at most so many bytes. */
  shortWrites(bytes: number | undefined): void
  setFree(bytes: number | undefined): void
  /** Lets so many more operations happen; after them each one fails and does nothing, until undefined is given. */
  dieAfter(operations: number | undefined): void
  /** Closes what is open, as the end of a process does. */
  kill(): Promise<void>
  /** What was not synced is gone, but for the 512-byte sectors and the names that `keep` picks. */
  powerCut(keep?: () => boolean): Promise<void>
}

/** Real files without real syncs, which say nothing where {@link faultyFiles} decides what a power cut leaves. */
export const unsyncedFiles: Files = {
  ...nodeFiles,
  fsyncDirectory: async () => {},
  open: async (...args) => ({ ...(await nodeFiles.open(...args)), fdatasync: async () => {} }),
}

/** Wraps a file layer for files directly in `root`, which must exist; what is in it counts as durable. */
export function faultyFiles(inner: Files, root: string): FaultyFiles {
  const operations: Operation[] = []
  const open = new Set<DurableFile>()
  /** Names as the process sees them, as the disk has them, and the changes between. */
  const names = new Map<string, Inode>()
  const diskNames = new Map<string, Inode>()
  let renamed: { readonly name: string; readonly inode: Inode | undefined }[] = []
  let fault: Fault | undefined
  let seen = 0
  let struck = false
  let left = Number.POSITIVE_INFINITY
  let short: number | undefined
  let free: number | undefined

  for (const name of fs.readdirSync(root))
    names.set(name, { image: fs.readFileSync(join(root, name)), dirty: [] })
  for (const [name, inode] of names) diskNames.set(name, inode)

  const setName = (name: string, inode: Inode | undefined): void => {
    putName(names, name, inode)
    renamed.push({ name, inode })
  }

  /** Runs one operation, or the fault that is due. */
  async function step<T>(
    operation: Operation,
    effect: () => Promise<T>,
    torn: () => Promise<unknown> = effect,
    lost: () => void = () => {},
  ): Promise<T> {
    if (left-- <= 0) throw systemError('EIO', operation.kind, operation.name)
    operations.push(operation)
    const counts = fault !== undefined && (fault.kind === undefined || fault.kind === operation.kind)
    if (!counts || seen++ !== fault!.at) return effect()
    struck = true
    const { how, code = 'EIO' } = fault!
    if (how === 'kept') await effect()
    else if (how === 'torn') await torn()
    else lost()
    throw systemError(code, operation.kind, operation.name)
  }

  function faultyFile(file: DurableFile, inode: Inode): DurableFile {
    const name = basename(file.path)
    const write = async (buffers: readonly Uint8Array[], offset: number, limit: number): Promise<number> => {
      const bytes = Buffer.concat(buffers).subarray(0, limit)
      const taken = await file.write([bytes], offset)
      inode.dirty.push({ offset, bytes: bytes.subarray(0, taken) })
      return taken
    }
    const faulty: DurableFile = {
      path: file.path,
      write(buffers, offset) {
        const bytes = buffers.reduce((sum, { length }) => sum + length, 0)
        const whole = () => write(buffers, offset, short ?? bytes)
        return step({ kind: 'write', name, bytes }, whole, () =>
          write(buffers, offset, Math.floor(bytes / 2)),
        )
      },
      read: (into, offset) => file.read(into, offset),
      truncate: (size) =>
        step({ kind: 'truncate', name, bytes: size }, async () => {
          await file.truncate(size)
          inode.dirty.push({ size })
        }),
      fdatasync: () =>
        step(
          { kind: 'fdatasync', name },
          async () => {
            await file.fdatasync()
            for (const change of inode.dirty) inode.image = applied(inode.image, change)
            inode.dirty = []
          },
          undefined,
          () => {
            inode.dirty = []
          },
        ),
      size: () => file.size(),
      async close() {
        open.delete(faulty)
        await file.close()
      },
    }
    open.add(faulty)
    return faulty
  }

  return {
    operations,
    get struck() {
      return struck
    },
    fail(next) {
      fault = next
      seen = 0
      struck = false
    },
    dieAfter(operations) {
      left = operations ?? Number.POSITIVE_INFINITY
    },
    shortWrites(bytes) {
      short = bytes
    },
    setFree(bytes) {
      free = bytes
    },
    async open(path: string, mode: OpenMode, permissions?: number) {
      const name = basename(path)
      if (mode !== 'create') {
        const file = await inner.open(path, mode)
        return faultyFile(file, names.get(name)!)
      }
      const make = async () => {
        const file = await inner.open(path, 'create', permissions)
        const inode: Inode = { image: Buffer.alloc(0), dirty: [] }
        setName(name, inode)
        return faultyFile(file, inode)
      }
      return step({ kind: 'create', name }, make, make)
    },
    rename: (from, to) =>
      step({ kind: 'rename', name: basename(to) }, async () => {
        await inner.rename(from, to)
        setName(basename(to), names.get(basename(from))!)
        setName(basename(from), undefined)
      }),
    unlink(path) {
      // Removing what is not there changes nothing and does not count.
      if (!fs.existsSync(path)) return inner.unlink(path)
      return step({ kind: 'unlink', name: basename(path) }, async () => {
        await inner.unlink(path)
        setName(basename(path), undefined)
      })
    },
    readdir: (path) => inner.readdir(path),
    mkdir: (path) => step({ kind: 'mkdir', name: basename(path) }, () => inner.mkdir(path)),
    fsyncDirectory: (path) =>
      step({ kind: 'fsyncDirectory', name: basename(path) }, async () => {
        await inner.fsyncDirectory(path)
        if (path !== root) return
        for (const { name, inode } of renamed) putName(diskNames, name, inode)
        renamed = []
      }),
    stat: (path) => inner.stat(path),
    freeBytes: async (path) => free ?? (await inner.freeBytes(path)),
    async kill() {
      for (const file of [...open]) await file.close().catch(() => {})
    },
    async powerCut(keep = () => false) {
      for (const file of [...open]) await file.close().catch(() => {})
      // Changes of names reach the disk one by one, in no order.
      for (const { name, inode } of renamed) if (keep()) putName(diskNames, name, inode)
      renamed = []
      for (const name of fs.readdirSync(root)) fs.rmSync(join(root, name))
      names.clear()
      for (const [name, { image, dirty }] of diskNames) {
        const inode: Inode = {
          image: dirty.reduce((left, change) => afterPowerCut(left, change, keep), image),
          dirty: [],
        }
        fs.writeFileSync(join(root, name), inode.image)
        names.set(name, inode)
        diskNames.set(name, inode)
      }
    },
  }
}

const SECTOR = 512

function putName(names: Map<string, Inode>, name: string, inode: Inode | undefined): void {
  if (inode === undefined) names.delete(name)
  else names.set(name, inode)
}

function applied(image: Buffer, change: Change): Buffer {
  const size = 'size' in change ? change.size : Math.max(image.length, change.offset + change.bytes.length)
  const next = Buffer.alloc(size)
  image.copy(next)
  if ('bytes' in change) change.bytes.copy(next, change.offset)
  return next
}

/** What the disk makes of a change that was still to be written: all of a new size or nothing, some of the sectors. */
function afterPowerCut(image: Buffer, change: Change, keep: () => boolean): Buffer {
  if ('size' in change) return keep() ? applied(image, change) : image
  let next = image
  const end = change.offset + change.bytes.length
  for (let from = change.offset; from < end; ) {
    const to = Math.min(end, (Math.floor(from / SECTOR) + 1) * SECTOR)
    const bytes = change.bytes.subarray(from - change.offset, to - change.offset)
    if (keep()) next = applied(next, { offset: from, bytes })
    from = to
  }
  return next
}
