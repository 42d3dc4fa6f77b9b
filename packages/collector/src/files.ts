/**
 * The thin file layer through which every durable write of the collector goes.
 *
 * It exists twice: {@link nodeFiles} on `node:fs`, and a fault-injecting one in `test/faults`. Nothing in it
 * retries, buffers or hides an error; what "durable" needs (which sync after which write, which directory) is the
 * caller's story and is told there.
 */
import fs from 'node:fs'

/** Where operational events go: fields first, then a fixed message (pino's shape). */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

/** One open file. Offsets are in bytes from the start of the file. */
export interface DurableFile {
  readonly path: string
  /** Writes the buffers one after another at an offset; returns how many bytes were taken, which may be fewer. */
  write(buffers: readonly Uint8Array[], offset: number): Promise<number>
  /** Reads at an offset; returns how many bytes came, 0 at the end of the file. */
  read(into: Uint8Array, offset: number): Promise<number>
  truncate(size: number): Promise<void>
  /** Data and size of the file are on disk when it resolves. After a rejection nothing is known about them. */
  fdatasync(): Promise<void>
  size(): Promise<number>
  close(): Promise<void>
}

/** How a file is opened: to read, to read and write what exists, or to create what must not exist yet. */
export type OpenMode = 'read' | 'write' | 'create'

/**
 * Asynchronous file operations. All may be called concurrently, and reject with a Node system error (`code`).
 * A created, renamed or removed name is durable only after {@link Files.fsyncDirectory} on its directory.
 */
export interface Files {
  /** `permissions` apply to a created file only, before umask; the default is owner only. */
  open(path: string, mode: OpenMode, permissions?: number): Promise<DurableFile>
  rename(from: string, to: string): Promise<void>
  unlink(path: string): Promise<void>
  /** Names in a directory, sorted; rejects with ENOENT when there is no such directory. */
  readdir(path: string): Promise<string[]>
  /** Creates a directory and its missing parents, owner only; resolves with the first one that it had to create. */
  mkdir(path: string): Promise<string | undefined>
  fsyncDirectory(path: string): Promise<void>
  /** Size in bytes and permission bits; undefined when there is no such file. */
  stat(path: string): Promise<{ readonly size: number; readonly permissions: number } | undefined>
  /** Bytes that an unprivileged writer may still use on the file system of `path`. */
  freeBytes(path: string): Promise<number>
}

/** One file open for synchronous positional reads, for threads that have nothing else to do. */
export interface ReadFile {
  readonly path: string
  /** Reads at an offset; returns how many bytes came, 0 at the end of the file. */
  read(into: Uint8Array, offset: number): number
  size(): number
  close(): void
}

/** Synchronous reads. Both throw with ENOENT when the name does not exist. */
export interface ReadFiles {
  open(path: string): ReadFile
  readdir(path: string): string[]
}

const FLAGS: Record<OpenMode, string> = { read: 'r', write: 'r+', create: 'wx+' }

/** {@link Files} on the operating system, through libuv's thread pool. */
export const nodeFiles: Files = {
  async open(path, mode, permissions = 0o600) {
    const fd = await call<number>((done) => fs.open(path, FLAGS[mode], permissions, done))
    return openedFile(path, fd)
  },
  rename: (from, to) => call((done) => fs.rename(from, to, done)),
  unlink: (path) => call((done) => fs.unlink(path, done)),
  async readdir(path) {
    return (await call<string[]>((done) => fs.readdir(path, done))).sort()
  },
  mkdir: (path) => call((done) => fs.mkdir(path, { recursive: true, mode: 0o700 }, done)),
  async fsyncDirectory(path) {
    const fd = await call<number>((done) => fs.open(path, 'r', done))
    try {
      await call<void>((done) => fs.fsync(fd, done))
    } finally {
      await call<void>((done) => fs.close(fd, done))
    }
  },
  async stat(path) {
    try {
      const { size, mode } = await call<fs.Stats>((done) => fs.stat(path, done))
      return { size, permissions: mode & 0o777 }
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined
      throw error
    }
  },
  async freeBytes(path) {
    const { bavail, bsize } = await call<fs.StatsFs>((done) => fs.statfs(path, done))
    return bavail * bsize
  },
}

/** {@link ReadFiles} on the operating system. */
export const nodeReadFiles: ReadFiles = {
  open(path) {
    const fd = fs.openSync(path, 'r')
    return {
      path,
      read: (into, offset) => fs.readSync(fd, into, 0, into.length, offset),
      size: () => fs.fstatSync(fd).size,
      close: () => fs.closeSync(fd),
    }
  },
  readdir: (path) => fs.readdirSync(path).sort(),
}

/** Writes all bytes of the buffers at an offset, however short the single writes are; returns their number. */
export async function writeFully(
  file: DurableFile,
  buffers: readonly Uint8Array[],
  offset: number,
): Promise<number> {
  let size = 0
  for (const buffer of buffers) size += buffer.length
  let rest = buffers
  let done = 0
  while (done < size) {
    const taken = await file.write(rest, offset + done)
    if (taken === 0) throw systemError('EIO', 'write', file.path)
    done += taken
    if (done < size) rest = skipBytes(rest, taken)
  }
  return size
}

/** Fills a buffer from an offset on; returns how much of it the file had. */
export async function readFully(file: DurableFile, into: Uint8Array, offset: number): Promise<number> {
  let done = 0
  while (done < into.length) {
    const came = await file.read(done === 0 ? into : into.subarray(done), offset + done)
    if (came === 0) break
    done += came
  }
  return done
}

/** {@link readFully} for a synchronous file. */
export function readFullySync(file: ReadFile, into: Uint8Array, offset: number): number {
  let done = 0
  while (done < into.length) {
    const came = file.read(done === 0 ? into : into.subarray(done), offset + done)
    if (came === 0) break
    done += came
  }
  return done
}

/** Whether an error is a system error with one of these codes. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(error.code as string)
}

/** Whether an error says that there is no room: the file system is full, or the quota is used up. */
export function isNoSpace(error: unknown): boolean {
  return hasCode(error, 'ENOSPC', 'EDQUOT')
}

/** An error with the shape of Node's system errors. */
export function systemError(code: string, call: string, path: string): Error & { code: string } {
  return Object.assign(new Error(`${code}: ${call} '${path}'`), { code, syscall: call, path })
}

function openedFile(path: string, fd: number): DurableFile {
  return {
    path,
    write: (buffers, offset) => call((done) => fs.writev(fd, buffers as Uint8Array[], offset, done)),
    read: (into, offset) => call((done) => fs.read(fd, into, 0, into.length, offset, done)),
    truncate: (size) => call((done) => fs.ftruncate(fd, size, done)),
    fdatasync: () => call((done) => fs.fdatasync(fd, done)),
    size: async () => (await call<fs.Stats>((done) => fs.fstat(fd, done))).size,
    close: () => call((done) => fs.close(fd, done)),
  }
}

/** One callback operation as a promise, at about half the cost of `util.promisify` for those with two results. */
function call<T>(start: (done: (error: Error | null, result?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, result) => (error ? reject(error) : resolve(result as T)))
  })
}

function skipBytes(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count
  let index = 0
  while (left >= buffers[index]!.length) left -= buffers[index++]!.length
  const rest = buffers.slice(index)
  rest[0] = rest[0]!.subarray(left)
  return rest
}

/** Names in a directory, sorted; none where there is no such directory. */
export async function listNames(directory: string): Promise<string[]> {
  try {
    return await nodeFiles.readdir(directory)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return []
    throw error
  }
}
