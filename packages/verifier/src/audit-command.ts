/** `rootspan-verify audit`: derives a whole log again over HTTP. The logic is @rootspan/lineage/audit; this drives it. */

import { type Audit, type AuditReport, createAudit, startOf } from '@rootspan/lineage/audit'
import { formatBase64 } from '@rootspan/lineage/bytes'
import { MalformedError, VerificationError } from '@rootspan/lineage/errors'
import { MAX_ENTRY } from '@rootspan/lineage/record/entry'
import { MAX_NOTE_SIZE } from '@rootspan/lineage/tlog/note'
import type { Policy } from '@rootspan/lineage/tlog/policy'
import { entriesPath, HASH_SIZE, TILE_WIDTH, tilePath, tileWidth } from '@rootspan/lineage/tlog/tile'
import { loadTileTree, TileTree } from '@rootspan/lineage/tlog/tile-tree'
import { KeptCheckpoints } from './kept-checkpoints.ts'
import { LogClient } from './log-client.ts'
import { type ExitCode, readPolicy, reportFailure, VERIFIED } from './outcome.ts'
import { type Progress, startProgress } from './progress.ts'
import { formatCount, plural, printable } from './text.ts'
import { describeCounts } from './verify-command.ts'
import { type Terminal, UnusableError, type World } from './world.ts'

export interface AuditCommandOptions {
  readonly policy: string
  readonly json?: boolean
  readonly fromSize?: number
}

/** Bundles, with their tiles, that are asked for ahead of the one that is being checked. */
const AHEAD = 16

export async function auditCommand(
  world: World,
  url: string,
  options: AuditCommandOptions,
): Promise<ExitCode> {
  let client: LogClient | undefined
  let progress: Progress | undefined
  try {
    const policy = await readPolicy(world, options.policy)
    client = new LogClient(url)
    const started = world.now()
    const audit = await beginAudit(client, policy, options.fromSize ?? 0)
    progress = startProgress(world, audit.checkpoint.size, audit.size)
    const report = await drive(audit, client, options.fromSize ?? 0, progress)
    progress.stop()
    const seconds = (world.now() - started) / 1000
    if (options.json === true)
      world.out.write(`${JSON.stringify(reportJson(url, report, seconds), null, 2)}\n`)
    else printReport(world.out, url, report, seconds)
    return VERIFIED
  } catch (error) {
    progress?.stop()
    return reportFailure(world, { url }, options.json === true, error)
  } finally {
    client?.close()
  }
}

async function beginAudit(client: LogClient, policy: Policy, from: number): Promise<Audit> {
  const checkpoint = await client.find('checkpoint', MAX_NOTE_SIZE)
  if (checkpoint === undefined)
    throw new UnusableError(
      `${client.prefix}checkpoint: there is none (404)`,
      'Give the prefix of the log: that of a Rootspan collector ends in /log. A new log has no checkpoint before its first span.',
    )
  try {
    const head = createAudit({ checkpoint, policy })
    if (from === 0) return head
    if (from > head.checkpoint.size)
      throw new UnusableError(
        `--from-size ${from}: the log has ${plural(head.checkpoint.size, 'leaf', 'leaves')}`,
        'Give the size of a checkpoint of this log that was audited before.',
      )
    const start = startOf(from)
    const tree =
      start === 0
        ? new TileTree()
        : await loadTileTree(start, (level, index, width) => fetchTile(client, level, index, width))
    return createAudit({ checkpoint, policy, from: { size: from, tree } })
  } catch (error) {
    if (error instanceof MalformedError)
      throw new VerificationError('malformed', 'checkpoint', error.message, { cause: error })
    throw error
  }
}

/**
 * The first `width` hashes of a tile. A log that has grown since its checkpoint may serve the full tile alone
 * (c2sp.org/tlog-tiles, "Partial Tiles").
 */
async function fetchTile(
  client: LogClient,
  level: number,
  index: number,
  width: number,
): Promise<Uint8Array> {
  if (width < TILE_WIDTH) {
    const partial = await client.find(tilePath(level, index, width), TILE_WIDTH * HASH_SIZE)
    if (partial !== undefined) return partial
  }
  const full = await client.get(tilePath(level, index, TILE_WIDTH), TILE_WIDTH * HASH_SIZE)
  return full.subarray(0, width * HASH_SIZE)
}

/** The first `width` entries of a bundle, likewise. */
async function fetchBundle(client: LogClient, index: number, width: number): Promise<Uint8Array> {
  const limit = TILE_WIDTH * (2 + MAX_ENTRY)
  if (width < TILE_WIDTH) {
    const partial = await client.find(entriesPath(index, width), limit)
    if (partial !== undefined) return partial
  }
  const full = await client.get(entriesPath(index, TILE_WIDTH), limit)
  if (width === TILE_WIDTH) return full
  let end = 0
  for (let i = 0; i < width && end + 2 <= full.length; i++) end += 2 + full.readUInt16BE(end)
  return full.subarray(0, end)
}

interface Fetched {
  readonly bundle: Promise<Uint8Array>
  readonly tile: Promise<Uint8Array>
}

/** Feeds the audit: bundles ahead of time, kept checkpoints as the tree reaches them, tiles when they are complete. */
async function drive(
  audit: Audit,
  client: LogClient,
  from: number,
  progress: Progress,
): Promise<AuditReport> {
  const { size } = audit.checkpoint
  const kept = new KeptCheckpoints(client, from, size)
  const ahead: Fetched[] = []
  let index = audit.size / TILE_WIDTH
  let compared: Promise<void>[] = []
  for (let next = audit.next(); next !== undefined; next = audit.next()) {
    while (ahead.length < AHEAD && index * TILE_WIDTH < size) {
      const width = tileWidth(size, 0, index)
      ahead.push({
        bundle: handled(fetchBundle(client, index, width)),
        tile: handled(fetchTile(client, 0, index, width)),
      })
      index++
    }
    const { bundle, tile } = ahead.shift()!
    for (const { size: at, note } of await kept.upTo(audit.size + next.width)) audit.expect(at, note)
    audit.add(await bundle, await tile)
    for (const computed of audit.takeTiles()) {
      const { level, index, width } = computed
      const fetched = fetchTile(client, level, index, width)
      compared.push(handled(fetched.then((bytes) => audit.compare(computed, bytes))))
    }
    if (compared.length >= AHEAD) {
      await Promise.all(compared)
      compared = []
    }
    progress.update(audit.size)
  }
  for (const { size: at, note } of await kept.upTo(size)) audit.expect(at, note)
  await Promise.all(compared)
  return audit.finish(kept.notChecked())
}

/** A promise that is awaited later: until then its rejection is nobody's. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

function reportJson(url: string, report: AuditReport, seconds: number): object {
  const { origin, size, root, from, ...rest } = report
  return {
    url,
    result: 'verified',
    origin,
    treeSize: size,
    root: formatBase64(root),
    fromSize: from,
    ...rest,
    seconds: Number(seconds.toFixed(3)),
  }
}

function printReport(to: Terminal, url: string, report: AuditReport, seconds: number): void {
  const { bold, green, dim } = to.colors
  const row = (name: string, text: string): string => `  ${dim(name.padEnd(12))}  ${printable(text)}\n`
  const { links, from, size } = report
  const records = size - from
  to.write(
    [
      `${green(bold('VERIFIED'))}  ${printable(url)}\n`,
      row('log', `${report.origin}, ${plural(size, 'leaf', 'leaves')}`),
      row('root', formatBase64(report.root)),
      row('signed by', report.signedBy.join(', ')),
      row('records', `${formatCount(records)}${records === 0 ? '' : `: ${describeCounts(report.records)}`}`),
      row('executions', `${formatCount(report.traces)} in ${plural(report.segments, 'sealed segment')}`),
      row(
        'links',
        `${formatCount(links.linked)} to parents, ${formatCount(report.causes)} to causes; parents awaited: ${formatCount(links.awaiting)}, remote: ${formatCount(links.remote)}`,
      ),
      row(
        'tree',
        `${plural(report.bundles, 'entry bundle')} and ${plural(report.tiles, 'tile')} derived again`,
      ),
      row('checkpoints', `${formatCount(report.checkpoints)}, each signed and a prefix of this tree`),
      row(
        'rate',
        `${formatCount(Math.round(records / Math.max(seconds, 0.001)))} records/s, ${seconds.toFixed(1)} s`,
      ),
      '\n',
      `  ${dim('not checked')}\n`,
      ...report.notChecked.map((line) => `  - ${printable(line)}\n`),
    ].join(''),
  )
}
