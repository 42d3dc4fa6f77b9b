/**
 * Retention: payloads are kept for as many days as their class says, and then whole packs go.
 *
 * A pack is of one class and day. When it has expired, its segments are erased in one commit, records of the erasure
 * first among what that commit makes true, and the file is removed after it; a crash between the two leaves a pack
 * that no commit knows, which the next start removes. What is held, and segments of executions that go on in a pack
 * that has not expired, is moved to a pack of the day of the last of these, or of today, and waits there.
 *
 * Names of services and first spans leave the index at once, and LevelDB's files when it compacts them next: only
 * `rootspan erase` rewrites the store.
 */
import { randomBytes } from 'node:crypto'
import { dirname } from 'node:path'
import { decodeResource } from '@rootspan/lineage/otlp/decode'
import type { SpanInput } from '@rootspan/lineage/record/order'
import { type Files, hasCode, type Log } from '../files.ts'
import { DEFAULT_CLASS, type Packs, RECORDS } from '../pack.ts'
import type { Sequencer } from '../sequencer.ts'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import { encodeName, isErased, parseCommit, parseRows, type SegmentRow } from '../store/rows.ts'
import { planExpiry } from './expiry.ts'
import { HoldFilter, listHolds } from './holds.ts'
import type { Found } from './select.ts'

export interface RetentionClass {
  readonly name: string
  readonly days: number
  readonly services: readonly string[]
  readonly tenants: readonly string[]
  readonly by_attribute: boolean
}

export interface RetentionSettings {
  /** Of what is of no class; 0 for ever. */
  readonly days: number
  readonly classes: readonly RetentionClass[]
  readonly checkMillis: number
}

/** The resource attribute that names a class, where the class allows it. */
const CLASS_KEY = 'governance.retention.class'
const DAY_MILLIS = 86_400_000

/** Says the class of a segment; undefined where there is only one. */
export function createClassifier({
  classes,
}: RetentionSettings):
  | ((tenant: string, services: readonly string[], first: SpanInput) => string)
  | undefined {
  if (classes.length === 0) return undefined
  const asksResource = classes.some(({ by_attribute }) => by_attribute)
  return (tenant, services, first) => {
    const named = asksResource ? classNamed(first) : undefined
    const found = classes.find(
      (one) =>
        (one.by_attribute && one.name === named) ||
        one.tenants.includes(tenant) ||
        services.some((service) => one.services.includes(service)),
    )
    return found?.name ?? DEFAULT_CLASS
  }
}

function classNamed({ source, resourceStart, resourceEnd }: SpanInput): string | undefined {
  const { attributes } = decodeResource(source.body.subarray(resourceStart, resourceEnd))
  const value = attributes.find(({ key }) => key === CLASS_KEY)?.value
  return value?.type === 'string' ? value.value : undefined
}

export interface RetentionParts {
  readonly reader: LogReader
  readonly packs: Packs
  readonly sequencer: Pick<Sequencer, 'record'>
  readonly files: Files
  readonly log: Log
  /** Milliseconds since 1970. */
  readonly now: () => number
}

export class Retention {
  readonly #settings: RetentionSettings
  readonly #parts: RetentionParts
  readonly #days: ReadonlyMap<string, number>
  #checkedAt = Number.NEGATIVE_INFINITY

  constructor(settings: RetentionSettings, parts: RetentionParts) {
    this.#settings = settings
    this.#parts = parts
    this.#days = new Map([
      ...(settings.days === 0 ? [] : [[DEFAULT_CLASS, settings.days] as const]),
      ...settings.classes.map(({ name, days }) => [name, days] as const),
    ])
  }

  /** Drops what has expired, if it is time to look again. Nothing may be settled meanwhile. */
  async check(): Promise<void> {
    const { now } = this.#parts
    if (this.#days.size === 0 || now() - this.#checkedAt < this.#settings.checkMillis) return
    this.#checkedAt = now()
    for (const { pack } of this.#parts.packs.classes().filter((one) => this.#isExpired(one)))
      await this.#drop(pack)
  }

  /** A day is over when the next one begins; then the days of the class are counted. */
  #isExpired({ retention, day }: { readonly retention: string; readonly day: string }): boolean {
    const days = retention === RECORDS ? undefined : this.#days.get(retention)
    return days !== undefined && startOf(day) + (days + 1) * DAY_MILLIS <= this.#parts.now()
  }

  async #drop(pack: number): Promise<void> {
    const { reader, packs, sequencer, files, log, now } = this.#parts
    const path = packs.path(pack)
    const classes = new Map(packs.classes().map((one) => [one.pack, one]))
    const found = await executionsIn(reader, pack, startOf(classes.get(pack)!.day))
    const holds = new HoldFilter(await listHolds(reader.database), packs)
    const stays = (rows: readonly SegmentRow[]): string | undefined => {
      if (holds.isHeld(rows)) return dayOf(now())
      const open = rows
        .filter((row) => !isErased(row) && row.block.pack !== pack)
        .map((row) => classes.get(row.block.pack))
        .filter((one) => one !== undefined && !this.#isExpired(one))
        .map((one) => one!.day)
      return open.sort().at(-1)
    }
    const order = {
      selector: ['retention'] as const,
      reason: `older than the ${this.#days.get(classes.get(pack)!.retention)} days that its class is kept`,
      by: 'the retention settings of the collector',
      at: BigInt(now()) * 1_000_000n,
    }
    const random = (size: number): Uint8Array => new Uint8Array(randomBytes(size))
    let erased = 0
    await sequencer.record(async (first) => {
      const plan = await planExpiry({ reader, packs, random }, pack, found, stays, order, first)
      erased = plan.segments
      return plan.batch
    })
    await files.unlink(path).catch((error: unknown) => {
      if (!hasCode(error, 'ENOENT')) throw error
    })
    await files.fsyncDirectory(dirname(path))
    log.info({ file: path, segments: erased }, 'retention: pack dropped')
  }
}

function startOf(day: string): number {
  return Date.parse(`${day.slice(0, 4)}-${day.slice(4, 6)}-${day.slice(6)}T00:00:00Z`)
}

function dayOf(millis: number): string {
  return new Date(millis).toISOString().slice(0, 10).replaceAll('-', '')
}

/**
 * The executions with a payload in a pack. Its segments are of commits of its day, or were moved to it from earlier
 * ones: commits are looked through from the first on, up to the end of that day.
 */
async function executionsIn(reader: LogReader, pack: number, day: number): Promise<Found[]> {
  const found = new Map<string, Found>()
  const range = { gte: Uint8Array.of(keys.Prefix.commit), lt: Uint8Array.of(keys.Prefix.commit + 1) }
  const end = BigInt(day + DAY_MILLIS) * 1_000_000n
  for await (const value of reader.database.values({ ...range, highWaterMarkBytes: 1024 * 1024 })) {
    const { commit } = parseCommit(value)
    if (commit.time >= end) break
    const traceKeys = commit.rows
      .filter(({ traceId }) => traceId.length > 0)
      .map((row) => keys.traceKey(keys.traceId(encodeName(row.tenant), row.traceId)))
    const values = await reader.database.getMany(traceKeys)
    for (const [at, key] of traceKeys.entries()) {
      const name = Buffer.from(key).toString('hex')
      if (found.has(name) || values[at] === undefined) continue
      const rows = parseRows(values[at])
      if (rows.some((row) => !isErased(row) && row.block.pack === pack)) found.set(name, { key, rows })
    }
  }
  return [...found.values()]
}
