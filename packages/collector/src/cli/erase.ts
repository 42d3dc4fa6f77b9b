/** `rootspan erase`: takes values and salts of executions out of every file of a stopped collector. */
import { formatHex, parseHex } from '@rootspan/lineage/bytes'
import type { Command } from 'commander'
import type { EraseReport, Preview } from '../erase/erase.ts'
import type { Selection } from '../erase/select.ts'
import { createLogger } from '../logger.ts'
import { OperatorError } from '../operator-error.ts'
import { FoundProblems } from './fsck.ts'
import { colorsOf, type Io, showProgress } from './io.ts'
import { addFlags, configOf, requireLog, type SharedOptions } from './settings.ts'

interface EraseOptions extends SharedOptions {
  readonly trace?: string
  readonly subject?: string
  readonly attribute?: readonly string[]
  readonly service?: string
  readonly before?: string
  readonly olderThan?: string
  readonly reason?: string
  readonly by?: string
  readonly dryRun?: boolean
  readonly yes?: boolean
  readonly resume?: boolean
  readonly json?: boolean
}

/** Executions that a dry run names. */
const MAX_NAMED = 20

export function addErase(program: Command, io: Io): void {
  const command = program
    .command('erase')
    .summary('erase executions, or attributes of them')
    .description(
      'Takes executions out of packs, journal, quarantine and index: every value, every salt. The log keeps their commitments and says by whose order, when and why; everything else verifies as before. What is asked for must all hold of one execution. Stop the collector first. Exit code 1 when something was held back.',
    )
    .option('--trace <id>', 'the execution with this trace id')
    .option('--subject <value>', 'executions that name this subject, in one of the attributes for it')
    .option(
      '--attribute <key...>',
      'spans and claims with these attribute keys; the rest of each execution stays',
    )
    .option('--service <name>', 'executions with spans of this service')
    .option('--before <date>', 'executions that ended before this date (2026-01-31, or with a time)')
    .option('--older-than <days>', 'executions that ended longer ago than this (90d)')
    .option('--reason <text>', 'why; it is written into the log, so name nobody in it')
    .option('--by <actor>', 'by whose order; it is written into the log')
    .option('--dry-run', 'only show what would be erased')
    .option('--yes', 'erase: it cannot be undone')
    .option('--resume', 'finish an erasure that was interrupted, and do nothing else')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      '\nExamples:\n  $ rootspan erase --subject alice@example.com --dry-run\n  $ rootspan erase --subject alice@example.com --reason "request 4711" --by "privacy office" --yes\n  $ rootspan erase --attribute http.request.body --older-than 30d --reason minimisation --by ops --yes',
    )
  addFlags(command, 'config', 'data', 'signer', 'logLevel').action(async (options: EraseOptions) => {
    const config = configOf(sharedOf(options), io)
    const identity = await requireLog(config, sharedOf(options))
    const logger = createLogger(
      { ...config.logs, level: options.logLevel === undefined ? 'warn' : config.logs.level },
      io.stderr,
    )
    const { erase, previewErasure } = await import('../erase/erase.ts')
    if (options.resume === true) {
      const { openStopped } = await import('../erase/stopped.ts')
      await (await openStopped(config, identity, logger)).close()
      io.stdout.write(options.json === true ? '{}\n' : 'Nothing is left to finish.\n')
      return
    }
    const selection = selectionOf(options)
    const progress = options.json === true ? undefined : showProgress(io)
    if (options.dryRun === true) {
      const preview = await previewErasure(config, identity, logger, selection, progress?.show)
      progress?.clear()
      io.stdout.write(
        options.json === true ? `${JSON.stringify(previewJson(preview))}\n` : formatPreview(preview),
      )
      return
    }
    const { reason, by } = demandOrder(options)
    const report = await erase(config, identity, logger, { selection, reason, by }, progress?.show)
    progress?.clear()
    io.stdout.write(
      options.json === true ? `${JSON.stringify(reportJson(report))}\n` : formatErased(report, io),
    )
    if (report.held.length > 0) throw new FoundProblems()
  })
}

function sharedOf({ config, data, signer, logLevel }: EraseOptions): SharedOptions {
  return {
    config,
    ...(data !== undefined && { data }),
    ...(signer !== undefined && { signer }),
    ...(logLevel !== undefined && { logLevel }),
  }
}

function selectionOf(options: EraseOptions): Selection {
  const { trace, subject, attribute, service } = options
  const before = beforeOf(options)
  const selection: Selection = {
    ...(trace !== undefined && { trace: traceOf(trace) }),
    ...(subject !== undefined && { subject: demandText(subject, '--subject') }),
    ...(attribute !== undefined && { attributes: attribute.map((key) => demandText(key, '--attribute')) }),
    ...(service !== undefined && { service: demandText(service, '--service') }),
    ...(before !== undefined && { before }),
  }
  if (Object.keys(selection).length === 0)
    throw usage(
      'nothing is said of what to erase',
      'Give --trace, --subject, --attribute, --service, --before or --older-than.',
    )
  return selection
}

function demandText(text: string, flag: string): string {
  if (text === '') throw usage(`${flag} is empty`, `Give ${flag} a value.`)
  return text
}

function traceOf(text: string): Uint8Array {
  if (!/^[0-9a-f]{32}$/.test(text))
    throw usage(`"${text}" is no trace id`, 'A trace id is 32 lower-case hex digits.')
  return parseHex(text)
}

const DAY_NANOS = 86_400_000_000_000n

function beforeOf({ before, olderThan }: EraseOptions): bigint | undefined {
  if (before !== undefined && olderThan !== undefined)
    throw usage('--before and --older-than are both given', 'Give one of them.')
  if (olderThan !== undefined) {
    const days = /^([1-9][0-9]{0,4})d$/.exec(olderThan)?.[1]
    if (days === undefined) throw usage(`"${olderThan}" is no number of days`, 'Write it like 90d.')
    return BigInt(Date.now()) * 1_000_000n - BigInt(days) * DAY_NANOS
  }
  if (before === undefined) return undefined
  const millis = /^[0-9]{4}-[0-9]{2}-[0-9]{2}(T.*)?$/.test(before) ? Date.parse(before) : Number.NaN
  if (Number.isNaN(millis))
    throw usage(`"${before}" is no date`, 'Write it like 2026-01-31 or 2026-01-31T12:00:00Z.')
  return BigInt(millis) * 1_000_000n
}

/** Longest reason or actor, so that a record stays small. */
const MAX_TEXT = 1000

function demandOrder({ reason, by, yes }: EraseOptions): { reason: string; by: string } {
  if (reason === undefined || reason === '' || by === undefined || by === '')
    throw usage(
      '--reason and --by are missing',
      'Say why, and by whose order: both are written into the log.',
    )
  if (reason.length > MAX_TEXT || by.length > MAX_TEXT)
    throw usage('--reason or --by is too long', `At most ${MAX_TEXT} characters each.`)
  if (yes !== true)
    throw usage('erasing cannot be undone', 'Look at it with --dry-run first; then give --yes.')
  return { reason, by }
}

function usage(message: string, hint: string): OperatorError {
  return new OperatorError(message, hint, { exitCode: 2 })
}

function previewJson({ found, held }: Preview): object {
  return {
    executions: found.map(({ rows }) => formatHex(rows[0]!.traceId)),
    held: held.map(({ rows }) => formatHex(rows[0]!.traceId)),
  }
}

function formatPreview({ found, held }: Preview): string {
  const spans = found.reduce((sum, { rows }) => sum + rows.reduce((all, row) => all + row.spans, 0), 0)
  return [
    `${found.length.toLocaleString('en')} executions with ${spans.toLocaleString('en')} spans would be touched.`,
    ...named(found),
    ...(held.length === 0
      ? []
      : [`${held.length.toLocaleString('en')} are held, and would be left alone:`, ...named(held)]),
    '',
  ].join('\n')
}

function named(found: Preview['found']): string[] {
  const lines = found.slice(0, MAX_NAMED).map(({ rows }) => `  ${formatHex(rows[0]!.traceId)}`)
  return found.length > MAX_NAMED
    ? [...lines, `  and ${(found.length - MAX_NAMED).toLocaleString('en')} more`]
    : lines
}

function reportJson({ held, ...report }: EraseReport): object {
  return { ...report, held: held.map(({ rows }) => formatHex(rows[0]!.traceId)) }
}

function formatErased(report: EraseReport, io: Io): string {
  const { green, yellow } = colorsOf(io.stdout, io.env)
  const { executions, segments, spans, records, firstLeaf, movedPayloads, droppedPacks, quarantined, held } =
    report
  const number = (value: number): string => value.toLocaleString('en')
  return [
    executions === 0
      ? 'nothing to erase was found'
      : `${green('erased')}       ${number(spans)} spans in ${number(segments)} segments of ${number(executions)} executions`,
    ...(executions === 0
      ? []
      : [
          `in the log   ${number(records)} records, from leaf ${firstLeaf} on`,
          `kept         ${number(movedPayloads)} neighbours moved, ${number(droppedPacks)} packs dropped`,
        ]),
    ...(quarantined === 0 ? [] : [`quarantine   ${number(quarantined)} lines removed`]),
    ...(held.length === 0
      ? []
      : [`${yellow('held')}         ${number(held.length)} executions, left alone:`, ...named(held)]),
    '',
  ].join('\n')
}
