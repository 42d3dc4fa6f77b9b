/**
 * The committed log, from the first commit to the last: chain, rows, payloads, entries, tiles, roots.
 *
 * One walk in log order, in bounded memory. The strongest check carries the others: each segment's payload is
 * derived again, as the collector did it, and must give the stored entries byte for byte; their hashes are then the
 * leaves of the tree that is grown beside it, whose tiles and roots must be the stored ones.
 */
import { equalBytes, formatHex, utf8 } from '@rootspan/lineage/bytes'
import { MalformedError, VerificationError } from '@rootspan/lineage/errors'
import { LOG_RECORD } from '@rootspan/lineage/otlp/log-record'
import { Committer } from '@rootspan/lineage/record/commitment'
import { NO_BYTES, Persistence, parseEntry } from '@rootspan/lineage/record/entry'
import { heldOf } from '@rootspan/lineage/record/erase'
import { TraceHistory } from '@rootspan/lineage/record/history'
import { LeafSink } from '@rootspan/lineage/record/leaf-sink'
import { type Source, traceIdOf } from '@rootspan/lineage/record/order'
import { parsePayload, type SegmentPayload } from '@rootspan/lineage/record/payload'
import { parseReceipt } from '@rootspan/lineage/record/receipt'
import { type DerivedSegment, deriveSegment } from '@rootspan/lineage/record/segment'
import { leafHash } from '@rootspan/lineage/tlog/merkle'
import { Histories } from '../histories.ts'
import { PackCorruption, type PackReader } from '../pack.ts'
import { loadHistory, readPayload } from '../sequencer.ts'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import {
  type Commit,
  type CommittedRow,
  encodeCommittedRow,
  encodeRow,
  isErased,
  parseCommit,
  parseRows,
  parseRunRow,
  type SegmentRow,
} from '../store/rows.ts'
import { BlockWalk } from './blocks.ts'
import { checkDescription } from './description.ts'
import { Entries, LogBroken, splitEntries } from './entries.ts'
import { checkErased, checkRun } from './erased.ts'
import type { Findings, Progress } from './report.ts'
import { CommitTerms } from './terms.ts'
import type { TrackedSpans } from './tracked.ts'
import type { TreeWalk } from './tree.ts'

export interface LogParts {
  readonly reader: LogReader
  readonly packs: PackReader
  readonly tree: TreeWalk
  readonly tracked: TrackedSpans
  readonly findings: Findings
  readonly progress: Progress
}

/** What the walk leaves for the checks of the index. */
export interface WalkedLog {
  readonly head: Commit | undefined
  readonly segments: number
  /** Segments that are the first of their trace. */
  readonly traces: number
  /** Search keys of all commits that are there. */
  readonly terms: number
}

/** Walks all commits. What breaks the walk itself is a problem, too; then the result is undefined. */
export async function checkLog(parts: LogParts): Promise<WalkedLog | undefined> {
  const walk = new LogWalk(parts)
  try {
    return await walk.run()
  } catch (error) {
    if (!(error instanceof LogBroken)) throw error
    parts.findings.problem(error.where, error.message)
    parts.findings.skip('log', `everything after leaf ${parts.tree.size}, because of the problem there`)
    return undefined
  } finally {
    await walk.close()
  }
}

class LogWalk {
  readonly #parts: LogParts
  readonly #entries: Entries
  readonly #blocks: BlockWalk
  readonly #histories = new Histories()
  readonly #committer = new Committer()
  readonly #sink = new LeafSink()
  #segments = 0
  #runs = 0
  #traces = 0
  readonly #terms: CommitTerms

  constructor(parts: LogParts) {
    this.#parts = parts
    this.#blocks = new BlockWalk(parts.packs, parts.findings)
    this.#entries = new Entries(parts.reader, this.#blocks)
    this.#terms = new CommitTerms(parts.reader, parts.findings)
  }

  async run(): Promise<WalkedLog> {
    const { reader, findings, tree, progress } = this.#parts
    let head: { commit: Commit; digest: Uint8Array } | undefined
    await tree.begin()
    const range = { gte: Uint8Array.of(keys.Prefix.commit), lt: Uint8Array.of(keys.Prefix.commit + 1) }
    for await (const [key, value] of reader.database.iterator({
      ...range,
      highWaterMarkBytes: 1024 * 1024,
    })) {
      const next = readCommit(key, value, head)
      await this.#commit(next.commit)
      head = { digest: next.digest, commit: { ...next.commit, rows: [] } }
      findings.count('commits')
      progress('records', tree.size)
    }
    await tree.end(head?.commit.size ?? 0)
    await this.#entries.end()
    await this.#blocks.end(head?.commit.packs ?? [])
    await this.#checkRunKeys()
    return { head: head?.commit, segments: this.#segments, traces: this.#traces, terms: this.#terms.found }
  }

  close(): Promise<void> {
    return this.#entries.close()
  }

  async #commit(commit: Commit): Promise<void> {
    const { reader, tree, findings } = this.#parts
    const stored = await reader.database.getMany(
      commit.rows.map((row) => (isRun(row) ? keys.runKey(row.first) : keys.traceKey(idOf(row)))),
    )
    for (const [at, row] of commit.rows.entries()) {
      if (row.first !== tree.size)
        throw new LogBroken(
          `commit ${commit.number}, row ${at}`,
          `begins at leaf ${row.first}, not at ${tree.size}`,
        )
      if (isRun(row)) {
        await this.#run(row, stored[at])
        continue
      }
      const rows = this.#checkStoredRow(row, stored[at])
      await this.#segment(row, rows, commit)
      const held = rows[row.segment]
      if (held !== undefined) this.#terms.add(held, rows)
      this.#segments++
      if (row.segment === 0) this.#traces++
    }
    if (tree.size !== commit.size)
      throw new LogBroken(`commit ${commit.number}`, `ends at leaf ${commit.size}, its rows at ${tree.size}`)
    if (!equalBytes(tree.root(), commit.root))
      findings.problem(
        `commit ${commit.number}`,
        `its root is ${formatHex(commit.root)}, the leaves have ${formatHex(tree.root())}`,
        undefined,
        'commit roots',
      )
    await this.#terms.check(commit.number)
  }

  /** The trace's value holds the row of the commit in its place; returns all rows of the trace, or none. */
  #checkStoredRow(row: CommittedRow, value: Uint8Array | undefined): readonly SegmentRow[] {
    const { findings } = this.#parts
    const where = `index, trace ${formatHex(row.traceId)}`
    const rows = value === undefined ? undefined : rowsIn(value)
    const held = rows?.[row.segment]
    if (held !== undefined && isSameRow(held, row)) return rows!
    const what =
      value === undefined ? 'is missing' : `does not hold segment ${row.segment} as it was committed`
    findings.problem(
      where,
      what,
      'The log itself may be whole; restore the data directory from a copy.',
      'index, trace',
    )
    return []
  }

  async #segment(committed: CommittedRow, rows: readonly SegmentRow[], commit: Commit): Promise<void> {
    const { tree, findings } = this.#parts
    const where = `segment at leaf ${committed.first}, trace ${formatHex(committed.traceId)}`
    const chunks = await this.#entries.take(committed.count)
    const row = rows[committed.segment]
    const history = await this.#history(committed, rows, where)
    let hashes: Uint8Array
    if (row === undefined) hashes = this.#hashStored(committed, chunks)
    else if (row.erasures.length > 0) {
      hashes = this.#hashStored(committed, chunks)
      await this.#erased(row, chunks, hashes, history, where)
    } else hashes = this.#whole(row, commit, chunks, history, where, rows)
    if (history !== null && row !== undefined) this.#keep(row, rows, history, chunks, hashes)
    await tree.append(hashes)
    findings.count('segments')
    findings.count('records', committed.count)
    findings.count('spans', committed.spans)
  }

  /** The leaf hashes of a segment of which nothing was erased: of what its payload derives to, or else of what is stored. */
  #whole(
    row: SegmentRow,
    commit: Commit,
    chunks: readonly Uint8Array[],
    history: TraceHistory | undefined | null,
    where: string,
    rows: readonly SegmentRow[],
  ): Uint8Array {
    const sink = this.#sink
    sink.reset()
    const payload = this.#payload(row, commit, where)
    const derived =
      payload === undefined || history === null ? undefined : this.#derive(payload, history, sink, where)
    const isSame = derived !== undefined && sink.count === row.count && equalChunks(sink.entries, chunks)
    if (derived !== undefined && !isSame) this.#nameDifference(row, chunks, sink, where)
    if (derived !== undefined && isSame) this.#track(payload!, derived, row)
    if (payload !== undefined) checkDescription(row, rows, payload, where, this.#parts.findings)
    return isSame ? sink.hashes : this.#hashStored(row, chunks)
  }

  /** A segment of which something was erased: the log says so, and what is left holds. */
  async #erased(
    row: SegmentRow,
    chunks: readonly Uint8Array[],
    hashes: Uint8Array,
    history: TraceHistory | undefined | null,
    where: string,
  ): Promise<void> {
    const { findings, reader, packs } = this.#parts
    try {
      const bytes = isErased(row) ? undefined : this.#blocks.payload(row, where)
      if (bytes === undefined && !isErased(row)) return
      if (history === null) return
      await checkErased(reader, packs, row, bytes, splitEntries(chunks), hashes, where)
      findings.count('erased segments')
    } catch (error) {
      if (!isDamage(error)) throw error
      findings.problem(where, error.message, undefined, 'erased segments')
    }
  }

  /** Runs are those of the commits, and no others. */
  async #checkRunKeys(): Promise<void> {
    const { reader, findings } = this.#parts
    let found = 0
    const range = { gte: Uint8Array.of(keys.Prefix.run), lt: Uint8Array.of(keys.Prefix.run + 1) }
    for await (const _ of reader.database.keys(range)) found++
    if (found !== this.#runs) findings.problem('runs', `there are ${found}, the commits have ${this.#runs}`)
  }

  /** A run of records about the log: their openings are there and lead to their claims. */
  async #run(row: CommittedRow, value: Uint8Array | undefined): Promise<void> {
    const { tree, findings } = this.#parts
    this.#runs++
    const where = `records about the log at leaf ${row.first}`
    const chunks = await this.#entries.take(row.count)
    const entries = splitEntries(chunks)
    try {
      const stored = value === undefined ? undefined : parseRunRow(value)
      if (stored === undefined || !isSameRow(stored, row) || !equalBytes(encodeRow(stored), value!))
        findings.problem(where, 'their row is missing, or not as it was committed', undefined, 'runs')
      else {
        const bytes = this.#blocks.payload(stored, where)
        if (bytes !== undefined) checkRun(bytes, entries, where)
      }
    } catch (error) {
      if (!isDamage(error)) throw error
      findings.problem(where, error.message, undefined, 'runs')
    }
    const hashes = Buffer.concat(entries.map((entry) => leafHash(entry)))
    await tree.append(hashes)
    findings.count('records', row.count)
    findings.count('records about the log', row.count)
  }

  /** The payload of a row, checked against the row; undefined, and a problem, when it is not there. */
  #payload(row: SegmentRow, commit: Commit, where: string): SegmentPayload | undefined {
    const { findings } = this.#parts
    const bytes = this.#blocks.payload(row, where)
    if (bytes === undefined) return undefined
    const fault = (what: string) => findings.problem(`${where}, payload`, what, undefined, 'payloads')
    try {
      const payload = parsePayload(bytes)
      if (
        payload.tenant !== row.tenant ||
        !equalBytes(payload.traceId, row.traceId) ||
        payload.segment !== row.segment ||
        payload.closed !== row.closed ||
        payload.spans.length !== row.spans
      )
        fault('is of another segment than its row')
      if (payload.evaluatedAt !== commit.time) fault(`was not judged at the time of commit ${commit.number}`)
      if (payload.spans.some((span) => !equalBytes(traceIdOf(span), payload.traceId)))
        fault('holds a span of another trace')
      return payload
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error
      fault(error.message)
      return undefined
    }
  }

  /** What came before in the trace; undefined for its first segment, null when it cannot be read. */
  async #history(
    row: CommittedRow,
    rows: readonly SegmentRow[],
    where: string,
  ): Promise<TraceHistory | undefined | null> {
    if (row.segment === 0) return undefined
    try {
      const { reader, packs } = this.#parts
      if (rows.length > 0)
        return (
          this.#histories.get(row, row.segment) ??
          (await loadHistory(reader, packs, rows.slice(0, row.segment)))
        )
    } catch {
      // The damage was told where the earlier segment was walked.
    }
    this.#parts.findings.skip(
      where,
      'whether it derives from its payload: earlier segments of its trace are damaged',
    )
    return null
  }

  /** Keeps what was walked of a trace, if a later segment of it follows. */
  #keep(
    row: SegmentRow,
    rows: readonly SegmentRow[],
    before: TraceHistory | undefined,
    chunks: readonly Uint8Array[],
    hashes: Uint8Array,
  ): void {
    this.#histories.drop(row)
    if (rows.length <= row.segment + 1) return
    const history = before ?? new TraceHistory()
    try {
      const entries = splitEntries(chunks)
      history.add(row.first, entries.map(parseEntry), hashes, row.closed, () =>
        heldOf({ entries }, readPayload(this.#parts.packs, row)),
      )
      this.#histories.keep(row, history, rows.slice(0, row.segment + 1))
    } catch {
      // Was reported where it was walked; whoever needs it loads it, and meets the damage.
    }
  }

  #derive(
    payload: SegmentPayload,
    history: TraceHistory | undefined,
    sink: LeafSink,
    where: string,
  ): DerivedSegment | undefined {
    const { findings } = this.#parts
    try {
      const derived = deriveSegment(payload, payload.spans, history, this.#committer, sink)
      if (derived.duplicates.length > 0)
        findings.problem(where, 'its payload holds a span that has a record already', undefined, 'payloads')
      else if (!isSameJudgement(derived, payload))
        findings.problem(
          where,
          'its payload holds another judgement than the rules come to',
          undefined,
          'payloads',
        )
      else if (derived.spans.some((span, at) => span !== payload.spans[at]))
        findings.problem(where, 'its payload is not in record order', undefined, 'payloads')
      else return derived
    } catch (error) {
      if (!isDamage(error)) throw error
      findings.problem(where, `its payload does not derive: ${error.message}`, undefined, 'payloads')
    }
    return undefined
  }

  /** Names the first entry that is not what the payload derives to. */
  #nameDifference(row: SegmentRow, chunks: readonly Uint8Array[], sink: LeafSink, where: string): void {
    const stored = splitEntries(chunks)
    const derived = splitEntries([sink.entries])
    const at = stored.findIndex((entry, i) => derived[i] === undefined || !equalBytes(entry, derived[i]))
    const what =
      at === -1
        ? `has ${stored.length} of ${derived.length} records that its payload derives to`
        : `leaf ${row.first + at} is not what the payload derives to`
    this.#parts.findings.problem(where, what, undefined, 'records')
  }

  /** Hashes what is stored, where it is not what was derived; checks at least that it is a sealed run of records. */
  #hashStored(row: CommittedRow, chunks: readonly Uint8Array[]): Uint8Array {
    const { findings } = this.#parts
    const entries = splitEntries(chunks)
    for (const [at, bytes] of entries.entries()) {
      const where = `leaf ${row.first + at}`
      try {
        const entry = parseEntry(bytes)
        const isSeal = entry.persistence === Persistence.sealed
        const isLast = at === row.count - 1
        if (isSeal !== isLast || (isSeal && (entry.leaves !== at || entry.segment !== row.segment)))
          findings.problem(where, 'the segment is not closed by its one seal', undefined, 'records')
      } catch (error) {
        if (!isDamage(error)) throw error
        findings.problem(where, error.message, undefined, 'records')
      }
    }
    return Buffer.concat(entries.map((entry) => leafHash(entry)))
  }

  /** Notes the spans whose sender asked for a receipt; every request must be of the segment's tenant. */
  #track(payload: SegmentPayload, derived: DerivedSegment, row: SegmentRow): void {
    let last: Source | undefined
    let isTracked = false
    for (const [place, span] of derived.spans.entries()) {
      if (span.source !== last) {
        last = span.source
        const receipt = parseReceipt(last.receipt)
        isTracked = receipt.tracked
        if (receipt.tenant !== payload.tenant)
          this.#parts.findings.problem(`segment at leaf ${row.first}`, 'holds a request of another tenant')
        if ((receipt.signal === 'logs') !== (span.kind === LOG_RECORD))
          this.#parts.findings.problem(`segment at leaf ${row.first}`, 'holds a request of another signal')
      }
      if (isTracked) this.#parts.tracked.add(row.first + derived.leaves[place]!, span.index)
    }
  }
}

/** Parses the next commit and checks that it follows from the one before. */
/** What a payload says of its judgement is what the seal commits to. */
function isSameJudgement(derived: DerivedSegment, { judgement, context, ruleset }: SegmentPayload): boolean {
  return (
    equalBytes(derived.judgement, judgement) &&
    equalBytes(derived.context, context ?? NO_BYTES) &&
    equalBytes(derived.ruleset, ruleset ?? NO_BYTES)
  )
}

function readCommit(
  key: Uint8Array,
  value: Uint8Array,
  before: { commit: Commit; digest: Uint8Array } | undefined,
): { commit: Commit; digest: Uint8Array } {
  const expected = before === undefined ? 0 : before.commit.number + 1
  const where = `commit ${expected}`
  if (!equalBytes(key, keys.commitKey(expected)))
    throw new LogBroken(where, 'is missing, though later ones are there')
  try {
    const read = parseCommit(value)
    const { commit } = read
    if (commit.number !== expected) throw new LogBroken(where, `says that it is commit ${commit.number}`)
    if (!equalBytes(commit.previous, before?.digest ?? new Uint8Array(32)))
      throw new LogBroken(where, 'does not follow from the commit before it')
    if (commit.first !== (before?.commit.size ?? 0))
      throw new LogBroken(where, 'does not begin where the commit before it ends')
    return read
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    throw new LogBroken(where, error.message)
  }
}

/** The rows in the value of a trace; undefined when it does not parse. */
function rowsIn(value: Uint8Array): readonly SegmentRow[] | undefined {
  try {
    return parseRows(value)
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    return undefined
  }
}

function idOf(row: CommittedRow): Uint8Array {
  return keys.traceId(utf8(row.tenant), row.traceId)
}

function isRun(row: CommittedRow): boolean {
  return row.traceId.length === 0
}

/** Whether a stored row has what its commit has of it. */
function isSameRow(row: CommittedRow, committed: CommittedRow): boolean {
  return equalBytes(encodeCommittedRow(row), encodeCommittedRow(committed))
}

/** Whether bytes are those of the pieces put together. */
function equalChunks(bytes: Uint8Array, chunks: readonly Uint8Array[]): boolean {
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  let at = 0
  for (const chunk of chunks) {
    if (
      at + chunk.length > whole.length ||
      whole.compare(chunk, 0, chunk.length, at, at + chunk.length) !== 0
    )
      return false
    at += chunk.length
  }
  return at === whole.length
}

/** What damaged data throws, as against a bug of ours or a disk that cannot be read. */
function isDamage(error: unknown): error is Error {
  return (
    error instanceof MalformedError || error instanceof VerificationError || error instanceof PackCorruption
  )
}
