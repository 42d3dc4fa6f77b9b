/**
 * Who may send the files of an emitter: the process that holds the newest of its lock files.
 *
 * A lock file is linked into place with its content, under the next number, which succeeds for one process only. It
 * says which process holds it, by id and start time within a boot and a process namespace, so that a dead holder is
 * told from a living one at once. Where that cannot be told, as for a process of another container or machine, a
 * holder that has not renewed the file's time for `LEASE_MILLIS` is taken for dead. A process that was only asleep finds
 * out when it renews. Until then two may send the same spans: the collector takes equal ones for one.
 */
import {
  linkSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'

/** Holders renew much more often than this. */
export const LEASE_MILLIS = 60_000

export interface Lock {
  /** False if another process has taken over. */
  renew(): boolean
  release(): void
}

interface Holder {
  readonly pid: number
  /** Start of the process, in the kernel's words; '' where that is not told. */
  readonly started: string
  /** Boot and process namespace; '' where that is not told. */
  readonly world: string
}

/** Takes the lock of an emitter's files; undefined if a living process holds it. */
export function takeLock(directory: string, emitter: string): Lock | undefined {
  const numbers = numbersOf(directory, emitter)
  const newest = numbers.at(-1)
  if (newest !== undefined && isHeld(fileOf(directory, emitter, newest))) return undefined
  const number = (newest ?? 0) + 1
  const path = fileOf(directory, emitter, number)
  const draft = `${path}.${process.pid}.tmp`
  writeFileSync(draft, JSON.stringify(self()), { mode: 0o600 })
  try {
    linkSync(draft, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined
    throw error
  } finally {
    rmSync(draft, { force: true })
  }
  for (const older of numbers) rmSync(fileOf(directory, emitter, older), { force: true })
  return {
    renew() {
      try {
        const now = new Date()
        utimesSync(path, now, now)
      } catch {
        return false
      }
      return numbersOf(directory, emitter).at(-1) === number
    },
    release: () => rmSync(path, { force: true }),
  }
}

function fileOf(directory: string, emitter: string, number: number): string {
  return join(directory, `${emitter}.${number}.lock`)
}

/** Ascending. */
function numbersOf(directory: string, emitter: string): number[] {
  return readdirSync(directory)
    .flatMap((name) => {
      const [owner, number, kind, ...rest] = name.split('.')
      return owner === emitter && kind === 'lock' && rest.length === 0 ? [Number(number)] : []
    })
    .filter(Number.isSafeInteger)
    .sort((a, b) => a - b)
}

function isHeld(path: string): boolean {
  let holder: Partial<Holder>
  let age: number
  try {
    holder = JSON.parse(readFileSync(path, 'utf8')) as Partial<Holder>
    age = Date.now() - statSync(path).mtimeMs
  } catch (error) {
    // Gone: released. Not readable: nobody can say that it is held.
    return (error as NodeJS.ErrnoException).code !== 'ENOENT' && !(error instanceof SyntaxError)
  }
  const { pid, started, world } = holder
  const mine = self()
  if (world === mine.world && Number.isSafeInteger(pid) && pid! > 0)
    return isAlive(pid!) && startOf(pid!) === started
  return age < LEASE_MILLIS
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function self(): Holder {
  return { pid: process.pid, started: startOf(process.pid), world: worldOf() }
}

/** Linux, proc(5): field 22 of `stat`, in ticks since the boot. Counted from the last `)`, behind the name. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}

function worldOf(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return process.platform === 'linux' ? '' : `${process.platform} ${hostname()}`
  }
}
