/**
 * Reads the entries of a log in order and checks what they say of each other.
 *
 * - A linked parent is an earlier leaf: the span-born record of that span, in the same trace and tenant.
 * - A cause is an earlier leaf of a kind that fits its role.
 * - Every leaf of a trace lies in exactly one sealed run: a seal closes exactly the leaves since the last seal, all
 *   of its trace and tenant; the segments of a trace count up from 0, and each seal names the one before it.
 *
 * Cost: one slot to look up for each link, one to fill for each leaf; memory as `leaf-table.ts` says.
 */
import { MalformedError, type VerificationCode, VerificationError } from '../errors.ts'
import { Kind } from '../governance/kind.ts'
import { KIND_OF_ROLE, nameOf, Parent, Persistence, parseEntry, Role } from './entry.ts'
import { EntryScan } from './entry-scan.ts'
import { LeafTable, NO_TRACE, TraceTable } from './leaf-table.ts'

/** Classes of leaves, beside the kinds, which are below 16. */
const BORN = 16 // and the kind of a span-born record
const SEAL = 16 + Kind.persistence // which is never span-born

export class LogChecker {
  /** Checked leaves by kind, seals among `persistence`. */
  readonly counts = new Float64Array(16)
  segments = 0
  linked = 0
  awaiting = 0
  remote = 0
  causes = 0
  /** Links, and seals, that name what lies before the first leaf that was read. */
  unresolved = 0
  readonly #scan = new EntryScan()
  readonly #leaves = new LeafTable()
  readonly #traces: TraceTable
  readonly #known: number
  readonly #from: number
  /** The segment that is not sealed yet: its first leaf, how many there are so far, its trace. */
  #first = 0
  #count = 0
  #trace = NO_TRACE
  /** The tenant of the last entry: its number, and its bytes as characters. */
  #tenant: number
  #tenantName = ''

  /**
   * `known` is the first leaf that is read, `from` the first that is checked. Where `known` is above 0, what is
   * named and not found is taken to lie before it, and counted. `seed` is 32 bits that no sender could know.
   */
  constructor(known: number, from: number, seed: number) {
    this.#known = known
    this.#from = from
    this.#traces = new TraceTable(seed)
    this.#tenant = this.#traces.tenant('')
  }

  get traces(): number {
    return this.#traces.count
  }

  /** Throws when leaves lie beyond the last seal. */
  checkSealed(where: string): void {
    if (this.#count > 0)
      throw new VerificationError(
        'seal',
        where,
        `the segment that begins at leaf ${this.#first} is not sealed`,
      )
  }

  /** Takes the next leaf: its entry in [start, end) of `bytes`, its hash at `hashAt` of `hashes`. */
  take(
    index: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    hashes: Uint8Array,
    hashAt: number,
  ): void {
    const scan = this.#scan
    if (!scan.scan(bytes, start, end)) refuse(index, bytes.subarray(start, end))
    const isSeal = scan.persistence === Persistence.sealed
    const leafClass = isSeal ? SEAL : scan.parent === Parent.none ? scan.kind : BORN + scan.kind
    const trace = scan.traceId < 0 ? NO_TRACE : this.#traceOf(bytes)
    if (isSeal && trace === NO_TRACE) throw bad('seal', index, 'it is of no trace')
    if (index >= this.#from) {
      this.#checkRun(index, trace)
      this.#checkParent(index, bytes, trace)
      this.#checkCauses(index, bytes, trace)
      if (isSeal) this.#checkSeal(index, bytes, trace)
      this.counts[scan.kind]!++
    }
    if (isSeal) this.#traces.seal(trace, scan.segment, this.#leaves.count)
    this.#leaves.add(hashes, hashAt, bytes, scan.spanId, trace, leafClass)
  }

  /** A segment is of one trace. A record about the log stands between segments. */
  #checkRun(index: number, trace: number): void {
    if (this.#count > 0 && trace !== this.#trace)
      throw bad(
        'seal',
        index,
        `it is of another execution, and the segment from leaf ${this.#first} on is not sealed`,
      )
    if (trace === NO_TRACE) return
    if (this.#count === 0) {
      this.#first = index
      this.#trace = trace
    }
    this.#count++
  }

  #checkParent(index: number, bytes: Uint8Array, trace: number): void {
    const scan = this.#scan
    if (scan.parent === Parent.awaiting) this.awaiting++
    if (scan.parent === Parent.remote) this.remote++
    if (scan.parent !== Parent.linked) return
    this.linked++
    const leaves = this.#leaves
    const row = leaves.find(bytes, scan.parentLeaf)
    if (row < 0) {
      this.#missing(index, 'its parent is no earlier leaf')
      return
    }
    if (leaves.classOf(row) < BORN || leaves.classOf(row) === SEAL)
      throw bad('link', index, `its parent, leaf ${this.#known + row}, is not the record of a span`)
    if (leaves.trace(row) !== trace)
      throw bad('link', index, `its parent, leaf ${this.#known + row}, is of another execution`)
    if (!leaves.hasSpanId(row, bytes, scan.parentSpanId))
      throw bad('link', index, `its parent, leaf ${this.#known + row}, is the record of another span`)
  }

  #checkCauses(index: number, bytes: Uint8Array, trace: number): void {
    const scan = this.#scan
    const leaves = this.#leaves
    for (let at = 0; at < scan.causes; at++) {
      this.causes++
      if (scan.causeLocal[at] === 0) continue
      const role = scan.roles[at]!
      const row = leaves.find(bytes, scan.causeLeaves[at]!)
      if (row < 0) {
        this.#missing(index, `its cause ${at} is no earlier leaf`)
        continue
      }
      const leafClass = leaves.classOf(row)
      const kind = KIND_OF_ROLE[role]
      const fits =
        role === Role.previousSeal
          ? leafClass === SEAL
          : role === Role.parent || role === Role.logRecord
            ? leafClass >= BORN && leafClass !== SEAL
            : kind === undefined || leafClass % BORN === kind
      if (!fits)
        throw bad('link', index, `its cause ${at}, leaf ${this.#known + row}, is no ${nameOf(Role, role)}`)
      if (
        (role === Role.previousSeal || role === Role.parent || role === Role.logRecord) &&
        leaves.trace(row) !== trace
      )
        throw bad('link', index, `its cause ${at}, leaf ${this.#known + row}, is of another execution`)
      if (role === Role.logRecord && !(scan.spanId >= 0 && leaves.hasSpanId(row, bytes, scan.spanId)))
        throw bad('link', index, `its cause ${at}, leaf ${this.#known + row}, is the record of another span`)
    }
  }

  /** The seal is counted with the run that it closes. */
  #checkSeal(index: number, bytes: Uint8Array, trace: number): void {
    const scan = this.#scan
    const closed = this.#count - 1
    if (scan.leaves !== closed)
      throw bad(
        'seal',
        index,
        `it closes ${scan.leaves} leaves, and ${closed} lie before it since the last seal`,
      )
    const expected = this.#traces.nextSegment(trace)
    const isKnown = expected > 0 || this.#known === 0
    if (isKnown && scan.segment !== expected)
      throw bad(
        'seal',
        index,
        `it is of segment ${scan.segment}, and the next one of its trace is ${expected}`,
      )
    let named = -1
    let count = 0
    for (let at = 0; at < scan.causes; at++)
      if (scan.roles[at] === Role.previousSeal) {
        count++
        named = scan.causeLocal[at] === 0 ? -1 : this.#leaves.find(bytes, scan.causeLeaves[at]!)
      }
    if (count !== (scan.segment === 0 ? 0 : 1)) throw bad('seal', index, `it names ${count} seals before it`)
    if (isKnown && expected > 0 && named !== this.#traces.lastSeal(trace))
      throw bad('seal', index, 'it does not name the last seal of its trace')
    if (!isKnown && scan.segment > 0) this.unresolved++
    this.segments++
    this.#count = 0
  }

  #missing(index: number, reason: string): void {
    if (this.#known === 0) throw bad('link', index, reason)
    this.unresolved++
  }

  #traceOf(bytes: Uint8Array): number {
    const { tenantStart, tenantEnd, traceId } = this.#scan
    const name = this.#tenantName
    let same = name.length === tenantEnd - tenantStart
    for (let at = 0; same && at < name.length; at++) same = name.charCodeAt(at) === bytes[tenantStart + at]
    if (!same) {
      this.#tenantName = Array.from(bytes.subarray(tenantStart, tenantEnd), (byte) =>
        String.fromCharCode(byte),
      ).join('')
      this.#tenant = this.#traces.tenant(this.#tenantName)
    }
    if (this.#count > 0 && this.#traces.is(this.#trace, this.#tenant, bytes, traceId)) return this.#trace
    return this.#traces.trace(this.#tenant, bytes, traceId)
  }
}

function refuse(index: number, entry: Uint8Array): never {
  try {
    parseEntry(entry)
  } catch (error) {
    if (error instanceof MalformedError) throw bad('malformed', index, error.message)
    if (error instanceof VerificationError) throw bad(error.code, index, error.reason)
    throw error
  }
  throw new Error('bad entry scan: it refused an entry')
}

function bad(code: VerificationCode, index: number, reason: string): VerificationError {
  return new VerificationError(code, `leaf ${index}`, reason)
}
