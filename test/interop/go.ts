/** Runs the Go program beside this file: the log as read by other people's code. */
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const directory = fileURLToPath(new URL('.', import.meta.url))

/** What the Go program found, having checked every tile, entry and leaf. Counts. */
export interface GoAudit {
  readonly origin: string
  readonly size: number
  /** Base64. */
  readonly root: string
  readonly tiles: number
  readonly bundles: number
  readonly entries: number
  /** Leaves whose inclusion was proven: all. */
  readonly inclusions: number
  /** Sizes that were proven consistent with the tree: all. */
  readonly consistencies: number
  /** Kept checkpoints that were opened, all up to the size, and pairs of them that were proven consistent. */
  readonly checkpoints: number
  readonly pairs: number
}

/** How many pairs of so many kept checkpoints are tried: all of up to 200, else each two neighbours. */
export function pairsOf(checkpoints: number): number {
  if (checkpoints === 0) return 0
  return checkpoints <= 200 ? (checkpoints * (checkpoints - 1)) / 2 : checkpoints - 1
}

/** What Go's `note.Open` says of one vector of `test/vectors/tlog/notes.json`. */
export interface GoNote {
  readonly name: string
  readonly result: 'ok' | 'untrusted' | 'signature' | 'malformed'
  /** Base64. */
  readonly text: string
  readonly verified: number
  readonly unverified: number
}

/** Whether there is a Go toolchain; says on stderr how to get the tests to run if there is none. */
export function hasGo(): boolean {
  const found = spawnSync('go', ['version']).status === 0
  if (!found)
    console.warn(
      'SKIPPED: the log is not checked with Go. Install Go 1.25 or newer (https://go.dev/dl), then: npx vitest run test/interop',
    )
  return found
}

/**
 * Audits a served log: `url` is the prefix below which `checkpoint` and `tile/...` lie, `vkey` the log's
 * verifier key. Rejects with what the Go program said of the first thing that is wrong. The first run fetches
 * golang.org/x/mod from the module proxy and compiles.
 */
export async function runGoAudit(url: string, vkey: string): Promise<GoAudit> {
  return JSON.parse(await runGo('audit', url, vkey))
}

/** Opens every note of a vector file with Go. */
export async function runGoNotes(file: string): Promise<GoNote[]> {
  return JSON.parse(await runGo('notes', file))
}

async function runGo(...args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('go', ['run', '.', ...args], {
    cwd: directory,
    maxBuffer: 1 << 26,
  })
  return stdout
}
