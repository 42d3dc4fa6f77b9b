/** Draws an execution's tree, a line a span, its facts below it. */
import { formatHex } from '@rootspan/lineage/bytes'
import type { ExecutionNode, ExecutionRecord } from '@rootspan/lineage/evidence/execution'
import { Kind } from '@rootspan/lineage/governance/kind'
import { LOG_RECORD } from '@rootspan/lineage/otlp/log-record'
import { isSpanBorn, nameOf, Parent, Persistence, Role } from '@rootspan/lineage/record/entry'
import {
  type Execution,
  factsUnder,
  isFact,
  isLate,
  othersOf,
  type Placed,
  recordName,
  type ShownFact,
  serviceOf,
  shownClaims,
  walkTree,
} from './execution.ts'
import { fit, formatDuration, plural, printable, widthOf } from './text.ts'
import type { Colors, Terminal } from './world.ts'

/** Levels that are drawn; what is deeper stands at the last of them, with its depth said. */
const MAX_LEVELS = 40

interface Painter {
  readonly colors: Colors
  readonly columns: number
  readonly indexOf: ReadonlyMap<string, number>
  /** Ids of the spans that have a record. */
  readonly present: ReadonlySet<string>
}

/** The lines of the drawing, none of them wider than the terminal. */
export function* drawTree(
  execution: Execution,
  { colors, columns }: Pick<Terminal, 'colors' | 'columns'>,
): Generator<string> {
  const indexOf = new Map(execution.records.map((record) => [formatHex(record.leaf), record.index]))
  const present = new Set(
    execution.records.filter(({ entry }) => isSpanBorn(entry)).map(({ entry }) => formatHex(entry.spanId)),
  )
  const painter: Painter = { colors, columns, indexOf, present }
  // Room for lines and names is divided so that the columns behind them stay in sight.
  const levels = Math.max(2, Math.min(MAX_LEVELS, Math.floor(columns / 8)))
  /** For each open level whether more siblings follow. */
  const follows: boolean[] = []
  for (const placed of walkTree(execution.roots)) {
    const { node, depth, isLast } = placed
    follows.length = depth
    const stem = follows
      .slice(1, levels)
      .map((more) => (more ? '│  ' : '   '))
      .join('')
    const branch = depth === 0 ? '' : isLast ? '└─ ' : '├─ '
    const beyond = depth > levels ? `… ${depth} ` : ''
    yield line(painter, stem + branch + beyond, spanText(painter, execution, placed))
    follows.push(!isLast)
    const below =
      stem + (depth === 0 ? '' : isLast ? '   ' : '│  ') + (node.children.length > 0 ? '│  ' : '   ')
    for (const fact of factsUnder(node)) yield line(painter, below, factText(painter, execution, fact))
  }
  const others = othersOf(execution)
  if (others.length > 0) yield ''
  for (const record of others) yield line(painter, '', otherText(painter, record))
}

interface Text {
  /** Cut where there is no room. */
  readonly title: string
  /** Shown whole, behind it. */
  readonly rest: readonly string[]
  readonly paint: (title: string) => string
}

function line({ colors, columns }: Painter, stem: string, { title, rest, paint }: Text): string {
  const tail = rest.filter((part) => part !== '').join('  ')
  const room = Math.max(8, columns - widthOf(stem) - widthOf(tail) - 2)
  const head = fit(printable(title), room)
  const left = columns - widthOf(stem) - widthOf(head) - 2
  return `${colors.dim(stem)}${paint(head)}${tail === '' ? '' : `  ${colors.dim(fit(tail, Math.max(8, left)))}`}`
}

function spanText(painter: Painter, execution: Execution, { node, parent }: Placed): Text {
  const { record } = node
  const { entry, span } = record
  const service = printable(serviceOf(record))
  const isLog = span?.kind === LOG_RECORD
  const duration =
    span === undefined || isLog ? '' : formatDuration(span.endTimeUnixNano - span.startTimeUnixNano)
  const { bold, red } = painter.colors
  return {
    title: span?.name || (span === undefined ? titleOfMissing(record) : '(no name)'),
    rest: [
      fit(service, 24),
      isLog ? 'log record' : duration,
      entry.kind === Kind.span ? '' : nameOf(Kind, entry.kind),
      tierOf(execution, record),
      ...marks(painter, execution, node, parent),
      causesOf(painter, record),
      idOf(record),
    ],
    paint: span?.status.code === 2 ? (title) => red(bold(title)) : bold,
  }
}

/** What is known of a span that is not there: claims of its own that are shown. */
function titleOfMissing(record: ExecutionRecord): string {
  const said = shownClaims(record).map(({ key, value }) => `${key.replace(/^governance\./, '')}=${value}`)
  return ['(not shown)', ...said].join(' ')
}

/** The tier of what is a fact. */
function tierOf({ tiers }: Execution, record: ExecutionRecord): string {
  return isFact(record) ? (tiers?.ofLeaf(record.leaf)?.tier ?? '') : ''
}

/** What is unusual about a span's place. */
function marks(
  { present }: Painter,
  execution: Execution,
  { record }: ExecutionNode,
  parent: ExecutionNode | undefined,
): string[] {
  const { entry, span } = record
  const isWaiting = entry.parent === Parent.awaiting || entry.parent === Parent.remote
  const named = formatHex(entry.parentSpanId)
  return [
    span?.status.code === 2 ? '[error]' : '',
    isLate(record, execution.segments) ? '[late]' : '',
    isWaiting && parent !== undefined ? '[adopted]' : '',
    isWaiting && parent === undefined ? waitsFor(entry.parent, named, present.has(named)) : '',
  ]
}

function waitsFor(state: Parent, id: string, isPresent: boolean): string {
  if (isPresent) return `[opens a cycle through ${id}]`
  return state === Parent.remote ? `[remote parent ${id}]` : `[parent ${id} never came]`
}

function factText(painter: Painter, execution: Execution, { record, claims }: ShownFact): Text {
  const said = claims.map(({ key, value }) => `${key.replace(/^governance\./, '')}=${value}`).join(' ')
  return {
    title: `◆ ${recordName(record)}${said === '' ? '' : ` ${said}`}`,
    rest: [tierOf(execution, record), causesOf(painter, record), idOf(record)],
    paint: painter.colors.cyan,
  }
}

function otherText(painter: Painter, record: ExecutionRecord): Text {
  const { entry } = record
  const isSeal = entry.persistence === Persistence.sealed
  return {
    title: isSeal
      ? `▪ sealed segment ${entry.segment}, ${plural(entry.leaves, 'leaf', 'leaves')}`
      : `▪ ${recordName(record)}`,
    rest: [causesOf(painter, record), idOf(record)],
    paint: painter.colors.magenta,
  }
}

/** The records that this one relied on, by leaf index. */
function causesOf({ indexOf }: Painter, { entry }: ExecutionRecord): string {
  const causes = entry.causes.map(({ role, leaf, origin }) => {
    const index = origin === '' ? indexOf.get(formatHex(leaf)) : undefined
    const name =
      index === undefined
        ? `${shortHex(leaf)}${origin === '' ? '' : ` in ${printable(origin)}`}`
        : `#${index}`
    return `${nameOf(Role, role)} ${name}`
  })
  return causes.length === 0 ? '' : `← ${causes.join(', ')}`
}

function idOf({ index, leaf }: ExecutionRecord): string {
  return `#${index} ${shortHex(leaf)}`
}

function shortHex(bytes: Uint8Array): string {
  return formatHex(bytes.subarray(0, 4))
}
