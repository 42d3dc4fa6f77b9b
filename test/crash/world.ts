/**
 * One log's directories, what its senders and readers remember of it, and the check that holds these against what is
 * on the disk: nothing acknowledged is missing, nothing is there twice, no size has two roots.
 */
import { accessSync, constants, mkdtempSync, writeFileSync } from 'node:fs'
import { cp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createAudit } from '@rootspan/lineage/audit'
import { formatBase64, formatHex } from '@rootspan/lineage/bytes'
import { isSpanBorn, parseEntry } from '@rootspan/lineage/record/entry'
import { openCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import { parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { type Policy, policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { parseEntryBundle, TILE_WIDTH, tileWidth } from '@rootspan/lineage/tlog/tile'
import { expect } from 'vitest'
import { initialise, systemWorld } from '../../packages/collector/src/cli/init.ts'
import { type Config, parseConfig } from '../../packages/collector/src/config.ts'
import { nodeFiles } from '../../packages/collector/src/files.ts'
import type { FsckReport } from '../../packages/collector/src/fsck.ts'
import { fsck } from '../../packages/collector/src/fsck.ts'
import type { Identity } from '../../packages/collector/src/origin.ts'
import { PackReader } from '../../packages/collector/src/pack.ts'
import * as keys from '../../packages/collector/src/store/keys.ts'
import {
  type Database,
  LogReader,
  openDatabase,
  readChain,
} from '../../packages/collector/src/store/log-store.ts'
import type { Endpoints } from './process.ts'

const ORIGIN = 'example.com/crash/v0'

/** What a sender and a reader remember. */
export class Memory {
  /** Spans whose request was acknowledged, each as `trace/span` in hex. */
  readonly acknowledged = new Set<string>()
  /** All spans that were ever sent. */
  readonly sent = new Set<string>()
  /** Root in base64 by size, of every checkpoint that anybody saw. */
  readonly roots = new Map<number, string>()
  /** Acknowledged requests whose sender asked for a receipt: the spans in them by position. */
  readonly receipts = new Map<number, readonly string[]>()

  copy(): Memory {
    const copy = new Memory()
    for (const name of ['acknowledged', 'sent'] as const) for (const span of this[name]) copy[name].add(span)
    for (const [size, root] of this.roots) copy.roots.set(size, root)
    for (const [position, spans] of this.receipts) copy.receipts.set(position, spans)
    return copy
  }

  /** Takes a checkpoint that was handed out; fails when it is a second root for its size. */
  see(note: Uint8Array, policy: Policy): number {
    const { checkpoint } = openCheckpoint(note, policy)
    const root = formatBase64(checkpoint.root)
    expect(this.roots.get(checkpoint.size) ?? root, `root of size ${checkpoint.size}`).toBe(root)
    this.roots.set(checkpoint.size, root)
    return checkpoint.size
  }
}

export class World {
  readonly root: string
  readonly config: Config
  readonly identity: Identity
  readonly memory: Memory

  private constructor(root: string, config: Config, identity: Identity, memory: Memory) {
    this.root = root
    this.config = config
    this.identity = identity
    this.memory = memory
  }

  /** A new log in a new directory, as `rootspan init` makes it. */
  static async create(options: { parent?: string; yaml?: string } = {}): Promise<World> {
    const root = mkdtempSync(join(options.parent ?? scratchDirectory(), 'rootspan-crash-'))
    const config = configIn(root, options.yaml)
    const { identity } = await initialise(config, ORIGIN, systemWorld())
    return new World(root, config, identity, new Memory())
  }

  /** A copy of the directories with a memory of its own. */
  async copy(): Promise<World> {
    const root = mkdtempSync(join(scratchDirectory(), 'rootspan-crash-'))
    await cp(this.root, root, { recursive: true })
    return this.at(root, this.memory.copy())
  }

  /** The same log where its directories lie in another place. */
  at(root: string, memory: Memory): World {
    return new World(root, configIn(root), this.identity, memory)
  }

  get data(): string {
    return join(this.root, 'data')
  }

  get signer(): string {
    return join(this.root, 'signer')
  }

  get policy(): Policy {
    return policyOfLogs(parseVerifierKey(this.identity.key))
  }

  /** Writes the configuration that a collector of its own is started with; returns its path. */
  writeConfig(settings: string): string {
    const path = join(this.root, 'config.yaml')
    writeFileSync(path, configText(this.root, settings))
    return path
  }

  fsck(): Promise<FsckReport> {
    return fsck(this.config)
  }

  remove(): Promise<void> {
    return rm(this.root, { recursive: true, force: true })
  }

  /** Checks a stopped log against everything that is remembered. */
  async check(): Promise<FsckReport> {
    const database = await openDatabase(join(this.data, 'log'), 'open')
    const packs = new PackReader({ directory: join(this.data, 'packs'), files: nodeFiles })
    try {
      await this.#checkLog(database, packs)
    } finally {
      packs.close()
      await database.close()
    }
    const report = await this.fsck()
    expect(report.problems).toEqual([])
    return report
  }

  async #checkLog(database: Database, packs: PackReader): Promise<void> {
    const { acknowledged, sent, roots, receipts } = this.memory
    const reader = new LogReader(database, packs)
    const committed = new Map<number, string>([[0, '']])
    const head = await readChain(database, Number.POSITIVE_INFINITY, ({ size, root }) =>
      committed.set(size, formatBase64(root)),
    )
    const size = head?.commit.size ?? 0
    const leaves = await spanLeaves(reader, size)
    const times = new Map<string, number>()
    for (const span of leaves) if (span !== undefined) times.set(span, (times.get(span) ?? 0) + 1)
    const missing = [...acknowledged].filter((span) => !times.has(span))
    expect(missing, 'acknowledged and not in the log').toEqual([])
    const twice = [...times].filter(([, count]) => count !== 1)
    expect(twice, 'in the log twice').toEqual([])
    const strange = [...times.keys()].filter((span) => !sent.has(span))
    expect(strange, 'in the log and never sent').toEqual([])

    for await (const note of database.values({
      gte: keys.checkpointKey(0),
      lt: Uint8Array.of(keys.Prefix.checkpoint + 1),
    }))
      this.memory.see(note, this.policy)
    for (const [signed, root] of roots)
      if (signed > 0) expect(committed.get(signed), `root of size ${signed}`).toBe(root)

    for (const [position, spans] of receipts) {
      const found = (await reader.receipt(position)).map(([, leaf]) => leaves[leaf])
      expect(found.toSorted(), `receipt ${position}`).toEqual(spans.toSorted())
    }
    if (roots.size > 0) await this.#audit(reader)
  }

  /** The audit that anybody can do, up to the last kept checkpoint. */
  async #audit(reader: LogReader): Promise<void> {
    const checkpoint = (await reader.checkpoint())!
    const audit = createAudit({ checkpoint, policy: this.policy })
    for (let id = audit.next(); id !== undefined; id = audit.next()) {
      const bundle = await reader.entries(id.index, id.width)
      audit.add(new Uint8Array(bundle!), await reader.tileReader(0, id.index, id.width))
      for (const tile of audit.takeTiles())
        audit.compare(tile, await reader.tileReader(tile.level, tile.index, tile.width))
    }
    expect(audit.finish().size).toBe(audit.checkpoint.size)
  }
}

/** Reads the published checkpoint again and again, as a monitor does, until it is stopped. */
export function monitor(world: World, endpoints: Endpoints): () => Promise<void> {
  let isStopped = false
  let last = 0
  const loop = async (): Promise<void> => {
    for (; !isStopped; await sleep(20)) {
      const note = await fetch(`http://${endpoints.api}/log/checkpoint`).then(
        async (response) =>
          response.status === 200 ? new Uint8Array(await response.arrayBuffer()) : undefined,
        () => undefined,
      )
      if (note === undefined) continue
      const size = world.memory.see(note, world.policy)
      expect(size, 'the published tree shrank').toBeGreaterThanOrEqual(last)
      last = size
    }
  }
  const running = loop()
  running.catch(() => {})
  return async () => {
    isStopped = true
    await running
  }
}

/** For each leaf the span whose record it is, as `trace/span` in hex. */
async function spanLeaves(reader: LogReader, size: number): Promise<(string | undefined)[]> {
  const leaves: (string | undefined)[] = []
  for (let index = 0; index * TILE_WIDTH < size; index++) {
    const width = tileWidth(size, 0, index)
    const bundle = await reader.entries(index, width)
    for (const bytes of parseEntryBundle(bundle!, width)) {
      const entry = parseEntry(bytes)
      leaves.push(isSpanBorn(entry) ? `${formatHex(entry.traceId)}/${formatHex(entry.spanId)}` : undefined)
    }
  }
  return leaves
}

function configIn(root: string, yaml = ''): Config {
  return parseConfig(configText(root, yaml), 'test', { env: {} })
}

function configText(root: string, yaml: string): string {
  return `storage: {directory: ${root}/data}\nsigner: {directory: ${root}/signer}\n${yaml}`
}

/** A directory in memory where there is one: these tests make their power cuts themselves. */
function scratchDirectory(): string {
  try {
    accessSync('/dev/shm', constants.W_OK)
    return '/dev/shm'
  } catch {
    return tmpdir()
  }
}
