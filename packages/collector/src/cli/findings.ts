/** `rootspan findings`: what the continuity rules found, from a running collector; for people, programs and pipelines. */
import { SEVERITIES, type Severity } from '@rootspan/lineage/continuity/rule'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { FindingSummary } from '../api/findings.ts'
import { printable } from '../text.ts'
import { askApi, DEFAULT_API, unanswered } from './ask-api.ts'
import { FoundProblems } from './fsck.ts'
import { colorsOf, type Io } from './io.ts'
import { colored } from './rules.ts'
import { sarifOf } from './sarif.ts'

/** Findings that are listed at most. */
const MAX_FINDINGS = 10_000

interface FindingsOptions {
  readonly rule?: string
  readonly severity?: Severity
  readonly service?: string
  /** Nanoseconds since 1970, in decimal. */
  readonly since?: string
  readonly json?: boolean
  readonly sarif?: boolean
  readonly failOn?: Severity
  readonly url: string
}

export function addFindings(program: Command, io: Io): void {
  program
    .command('findings')
    .summary('list what the continuity rules found')
    .description(
      'Asks a running collector for the findings of the continuity rules, those of the newest execution first. Exit code 0: none, or none at or over --fail-on; 1: some are; 2: it could not be told.',
    )
    .option('--rule <id>', 'only those of this rule')
    .addOption(new Option('--severity <severity>', 'only those so severe or more').choices(SEVERITIES))
    .option('--service <name>', 'only executions in which this service took part')
    .addOption(
      new Option(
        '--since <time>',
        'only executions that began then or later: 30m, 24h, 7d, or an ISO 8601 time with a zone',
      ).argParser(parseSince),
    )
    .addOption(new Option('--json', 'print JSON').conflicts('sarif'))
    .option('--sarif', 'print SARIF 2.1.0')
    .addOption(
      new Option('--fail-on <severity>', 'exit with 1 where one is so severe or more').choices(SEVERITIES),
    )
    .option('--url <url>', 'the API of the collector', DEFAULT_API)
    .addHelpText(
      'after',
      '\nExamples:\n  $ rootspan findings --since 24h\n  $ rootspan findings --severity high --fail-on high\n  $ rootspan findings --sarif > findings.sarif',
    )
    .action(async (options: FindingsOptions) => {
      const { findings, isAll } = await askFindings(options)
      if (options.sarif === true) io.stdout.write(`${JSON.stringify(sarifOf(findings), null, 2)}\n`)
      else if (options.json === true) io.stdout.write(`${JSON.stringify({ findings }, null, 2)}\n`)
      else io.stdout.write(findingsText(findings, io))
      const { failOn } = options
      if (failOn !== undefined && findings.some(({ severity }) => rank(severity) <= rank(failOn)))
        throw new FoundProblems()
      if (!isAll)
        throw unanswered(`there are more than ${MAX_FINDINGS} findings`, 'Ask for less, such as --since 24h.')
    })
}

function rank(severity: Severity): number {
  return SEVERITIES.indexOf(severity)
}

/** Follows the pages to their end, or to the bound. */
async function askFindings({
  rule,
  severity,
  service,
  since,
  url,
}: FindingsOptions): Promise<{ findings: FindingSummary[]; isAll: boolean }> {
  const { Findings } = await import('../api/schema.ts')
  const query = new URLSearchParams({ limit: '200' })
  if (rule !== undefined) query.set('rule', rule.toUpperCase())
  if (severity !== undefined) query.set('severity', severity)
  if (service !== undefined) query.set('service', service)
  if (since !== undefined) query.set('from', since)
  const findings: FindingSummary[] = []
  for (;;) {
    const page = await askApi(url, `/api/v1/findings?${query}`, Findings)
    findings.push(...page.findings)
    if (page.next === undefined) return { findings, isAll: true }
    if (findings.length >= MAX_FINDINGS) return { findings, isAll: false }
    query.set('cursor', page.next)
  }
}

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

function parseSince(text: string): string {
  const [, count, unit] = /^([0-9]{1,6})([smhd])$/.exec(text) ?? []
  const millis =
    count === undefined
      ? /^[0-9]{4}-[0-9]{2}-[0-9]{2}T.+(?:Z|[+-][0-9:]+)$/.test(text)
        ? Date.parse(text)
        : Number.NaN
      : Date.now() - Number(count) * UNITS[unit!]!
  if (Number.isNaN(millis))
    throw new InvalidArgumentError('Give 30m, 24h, 7d, or an ISO 8601 time with a zone.')
  return `${BigInt(Math.max(0, Math.floor(millis))) * 1_000_000n}`
}

function findingsText(findings: readonly FindingSummary[], io: Io): string {
  if (findings.length === 0) return 'no findings\n'
  const colors = colorsOf(io.stdout, io.env)
  const lines: string[] = []
  let shown = ''
  for (const { rule, severity, detail, traceId, name, services, startTimeUnixNano, subjects } of findings) {
    if (traceId !== shown) {
      const start = new Date(Number(BigInt(startTimeUnixNano) / 1_000_000n))
      const time = Number.isNaN(start.getTime()) ? startTimeUnixNano : start.toISOString()
      lines.push(`${colors.bold(traceId)}  ${time}  ${printable(`${name} (${services.join(', ')})`)}`)
      shown = traceId
    }
    const at = subjects.find(({ leafIndex }) => leafIndex !== undefined)?.leafIndex
    const where = at === undefined ? '' : colors.dim(`, leaf ${at}`)
    lines.push(`  ${rule}  ${colored(severity, colors)}  ${printable(detail)}${where}`)
  }
  return `${lines.join('\n')}\n`
}
