/** Everything beside the store: `log.json`, the signer, the journal, the quarantine, and names that are nobody's. */
import { createReadStream } from 'node:fs'
import { basename, join } from 'node:path'
import { MalformedError } from '@rootspan/lineage/errors'
import { createSpanTable } from '@rootspan/lineage/otlp/scan'
import type { Checkpoint } from '@rootspan/lineage/tlog/checkpoint'
import { type DurableFile, type Files, listNames } from '../files.ts'
import { JournalCorruption } from '../journal/errors.ts'
import { JournalReader } from '../journal/reader.ts'
import { recover } from '../journal/recovery.ts'
import { scanFrame } from '../journal/scan.ts'
import { segmentFirsts, segmentName } from '../journal/segments.ts'
import { OperatorError } from '../operator-error.ts'
import { type Identity, LOG_FILE, readLogFile } from '../origin.ts'
import { findLineFault, QUARANTINE_FILE } from '../receiver/quarantine.ts'
import { MEMORY_DIRECTORY, memoryPath, readMemory } from '../signer.ts'
import { checkSigningKey, KEY_FILE, readSigningKey } from '../signing-key.ts'
import { type Cursor, cursorEnd, START } from '../store/cursor.ts'
import type { Findings, Progress } from './report.ts'

/** Which log this is; undefined, and a problem, when `log.json` does not say. */
export async function checkIdentity(
  files: Files,
  data: string,
  findings: Findings,
): Promise<Identity | undefined> {
  const path = join(data, LOG_FILE)
  return attempt(path, findings, async () => {
    const identity = await readLogFile(files, data)
    if (identity === undefined)
      throw new OperatorError(
        'is missing: this is no data directory, or its first file is gone',
        'Point storage.directory at the data of a log, or restore the file from a copy; it never changes.',
      )
    findings.count('log files')
    return identity
  })
}

/** Key and memory; the memory's checkpoint, when it can be believed. */
export async function checkSigner(
  files: Files,
  directory: string,
  identity: Identity | undefined,
  findings: Findings,
): Promise<Checkpoint | undefined> {
  const key = await attempt(join(directory, KEY_FILE), findings, async () => {
    const found = await readSigningKey(files, directory)
    if (found === undefined)
      throw new OperatorError(
        'is missing',
        'Point signer.directory at the signer that was made with this log, or restore the key from its copy.',
      )
    if (identity !== undefined) checkSigningKey(found, identity.key, directory)
    findings.count('private keys')
    return found
  })
  await checkNames(directory, [KEY_FILE, MEMORY_DIRECTORY], findings)
  if (key === undefined) return undefined
  const path = memoryPath(directory, key.verifier.name)
  await checkNames(join(directory, MEMORY_DIRECTORY), [basename(path)], findings)
  return attempt(path, findings, async () => {
    const memory = await readMemory(files, directory, key)
    if (memory === undefined)
      throw new OperatorError(
        "is missing: the signer's memory is gone",
        'Put the newest checkpoint of this log that was published or archived there; without one, it must not sign.',
      )
    findings.count('signer memories')
    return memory
  })
}

/** What the operator has to put right is a problem of `path`; anything else goes up. */
async function attempt<T>(path: string, findings: Findings, check: () => Promise<T>): Promise<T | undefined> {
  try {
    return await check()
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error
    const message = error.message.startsWith(path) ? error.message.slice(path.length) : error.message
    findings.problem(path, message.replace(/^:? /, ''), error.hint)
    return undefined
  }
}

/** Names every entry of a directory that is not one of `known`. */
export async function checkNames(
  directory: string,
  known: readonly string[] | ((name: string) => boolean),
  findings: Findings,
): Promise<void> {
  const isKnown = typeof known === 'function' ? known : (name: string) => known.includes(name)
  for (const name of await listNames(directory))
    if (!isKnown(name)) {
      const isLeftOver = name.endsWith('.tmp') && isKnown(name.slice(0, -4))
      const what = isLeftOver
        ? 'left over from replacing the file: the next time removes it'
        : 'not a file of ours'
      findings.skip(join(directory, name), what)
    }
}

/**
 * Every frame of the journal, as the next start would see it, without its cutting anything. `cursor` is undefined
 * when the store could not be opened: then only the frames themselves are checked.
 */
export async function checkJournal(
  files: Files,
  directory: string,
  cursor: Cursor | undefined,
  findings: Findings,
  progress: Progress,
): Promise<void> {
  const firsts = segmentFirsts(await listNames(directory))
  const names = new Set(firsts.map(segmentName))
  await checkNames(directory, (name) => names.has(name), findings)
  const known = cursor ?? START
  try {
    if (firsts.length === 0 && cursorEnd(known) === 0) return
    const found = await recover({
      directory,
      files: readOnly(files),
      committedEnd: cursor?.next,
      knownEnd: cursorEnd(known),
      random: (size) => new Uint8Array(size),
      log: {
        info() {},
        warn(fields) {
          const { file, offset, bytes, fault } = fields as Record<string, string | number>
          findings.note(
            `${file} at offset ${offset}`,
            `a last group of frames that its writer did not finish, or that is damaged (${fault}): the next start cuts ${bytes} bytes`,
          )
        },
      },
    })
    if (found === undefined) return
    await found.file.close()
    findings.count('journal segments', found.segments.length)
    findings.count('journal frames', found.end - firsts[0]!)
    checkFrames(directory, Math.max(known.next, firsts[0]!), found.end, known, findings, progress)
  } catch (error) {
    if (!(error instanceof JournalCorruption)) throw error
    findings.problem(`${error.file} at offset ${error.offset}`, error.reason)
  }
}

/** What follows the cursor can be read by the pipeline: receipts parse, requests scan, decided spans are there. */
function checkFrames(
  directory: string,
  from: number,
  end: number,
  cursor: Cursor,
  findings: Findings,
  progress: Progress,
): void {
  const reader = new JournalReader({ directory, from, until: end })
  const table = createSpanTable()
  try {
    while (reader.next < end) {
      for (const frame of reader.read(end, 4 * 1024 * 1024)) {
        try {
          const { count } = scanFrame(frame, table).table
          const bits = cursor.partial.get(frame.position)
          if (bits !== undefined && bits.length !== Math.ceil(count / 8))
            findings.problem(
              `journal cursor, position ${frame.position}`,
              'marks other spans than the frame has',
            )
        } catch (error) {
          if (!(error instanceof MalformedError)) throw error
          findings.problem(
            `${directory}, position ${frame.position}`,
            `a frame that cannot be taken: ${error.message}`,
          )
        }
      }
      progress('journal', reader.next)
    }
  } finally {
    reader.close()
  }
}

/** A file layer that changes nothing on the disk; a file that is begun anew is begun in memory. */
function readOnly(files: Files): Files {
  const refuse = (): never => {
    throw new Error('bad use: fsck changes nothing')
  }
  return {
    ...files,
    rename: refuse,
    unlink: refuse,
    mkdir: refuse,
    fsyncDirectory: refuse,
    async open(path, mode) {
      if (mode === 'create') return refuse()
      return readOnlyFile(await files.open(path, 'read'))
    },
  }
}

function readOnlyFile(file: DurableFile): DurableFile {
  let anew: Buffer | undefined
  return {
    path: file.path,
    async read(into, offset) {
      if (anew === undefined) return file.read(into, offset)
      return anew.copy(into, 0, offset)
    },
    async write(buffers, offset) {
      const bytes = Buffer.concat(buffers)
      // All that is written to a file that is kept are its own bytes again.
      if (anew !== undefined) anew = Buffer.concat([anew.subarray(0, offset), bytes])
      return bytes.length
    },
    async truncate(size) {
      if (size === 0) anew = Buffer.alloc(0)
    },
    async fdatasync() {},
    size: async () => anew?.length ?? file.size(),
    close: () => file.close(),
  }
}

/** Every line of every quarantine file; the last of a file may be torn. */
export async function checkQuarantine(directory: string, findings: Findings): Promise<void> {
  const names = await listNames(directory)
  await checkNames(directory, (name) => QUARANTINE_FILE.test(name), findings)
  for (const name of names) {
    if (!QUARANTINE_FILE.test(name)) continue
    const path = join(directory, name)
    findings.count('quarantine files')
    let number = 0
    for await (const { text, isWhole } of readLines(path)) {
      number++
      const fault = findLineFault(text)
      if (!isWhole)
        findings.note(
          `${path}, line ${number}`,
          'a last line that its writer did not finish, or whose end is damaged',
        )
      else if (fault !== undefined)
        findings.problem(
          `${path}, line ${number}`,
          fault,
          'Nothing depends on it: the quarantine is for people. Move the file away.',
          path,
        )
    }
    findings.count('quarantine lines', number)
  }
}

/** Lines end in 0x0a and nothing else; the last one may lack it. */
async function* readLines(path: string): AsyncGenerator<{ text: string; isWhole: boolean }, void, undefined> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    let start = 0
    for (let end = rest.indexOf(0x0a); end !== -1; end = rest.indexOf(0x0a, start)) {
      yield { text: rest.toString('utf8', start, end), isWhole: true }
      start = end + 1
    }
    rest = rest.subarray(start)
  }
  if (rest.length > 0) yield { text: rest.toString('utf8'), isWhole: false }
}
