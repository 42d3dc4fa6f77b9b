/** The journal under kill -9, ten times over the same directory. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { nodeFiles } from '../../packages/collector/src/files.ts'
import { openJournal } from '../../packages/collector/src/journal/journal.ts'
import { JournalReader } from '../../packages/collector/src/journal/reader.ts'
import { numberedBody } from './appender.ts'

const directory = fs.mkdtempSync(join(tmpdir(), 'rootspan-kill-'))
afterAll(() => fs.rmSync(directory, { recursive: true }))

const APPENDER = join(import.meta.dirname, 'appender.ts')

/** Runs the appender until it has acknowledged so many frames and a random moment more; returns its lines. */
function appendAndKill(first: number, frames: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--conditions=source', APPENDER, directory, String(first)])
    let out = ''
    let errors = ''
    let doomed = false
    child.stderr.on('data', (chunk) => {
      errors += chunk
    })
    child.stdout.on('data', (chunk) => {
      out += chunk
      if (doomed || out.split('\n').length <= frames) return
      doomed = true
      setTimeout(() => child.kill('SIGKILL'), Math.random() * 30)
    })
    child.on('close', (_code, signal) => {
      // A line that the kill has cut in two was not said.
      if (signal === 'SIGKILL') resolve(out.split('\n').slice(0, -1))
      else reject(new Error(`appender ended by itself: ${errors}`))
    })
  })
}

test('no acknowledged frame is missing, and bodies are as they were', { timeout: 120_000 }, async () => {
  const acknowledged = new Map<number, number>()
  let next = 0
  for (let round = 0; round < 10; round++) {
    for (const line of await appendAndKill(next, 20 + Math.floor(Math.random() * 60))) {
      const [position, number] = line.split(' ').map(Number)
      expect(acknowledged.has(position!)).toBe(false)
      acknowledged.set(position!, number!)
    }
    next += 1_000_000
    const journal = await openJournal({
      directory,
      files: nodeFiles,
      log: { info() {}, warn() {} },
      segmentBytes: 300_000,
      maxBytes: 1e9,
      minFreeBytes: 0,
    })
    const reader = new JournalReader({ directory, from: 0 })
    const found = new Map<number, number>()
    while (reader.next < journal.durableEnd)
      for (const frame of reader.read(journal.durableEnd, 1 << 20)) {
        const number = Number(Buffer.from(frame.receipt).toString())
        expect(Buffer.from(frame.body).equals(numberedBody(number))).toBe(true)
        found.set(frame.position, number)
      }
    reader.close()
    for (const [position, number] of acknowledged) expect(found.get(position)).toBe(number)
    // Nothing is there twice.
    expect(new Set(found.values()).size).toBe(found.size)
    // Half of the restarts follow a clean shutdown of the check, half another sudden end.
    if (round % 2 === 0) await journal.close()
  }
  expect(acknowledged.size).toBeGreaterThan(200)
})
