/** `rootspan-verify verify`: evidence bundles against the auditor's own policy, offline. */
import { formatBase64, formatHex } from '@rootspan/lineage/bytes'
import { VerificationError } from '@rootspan/lineage/errors'
import { MAX_BUNDLE } from '@rootspan/lineage/evidence/bundle'
import type { Policy } from '@rootspan/lineage/tlog/policy'
import { type VerifiedExecution, verify } from '@rootspan/lineage/verify'
import {
  countRecords,
  describeContext,
  isDisclosure,
  isFact,
  missingOf,
  servicesOf,
  shownClaims,
  tiersIn,
  timesOf,
  verifiedJson,
} from './execution.ts'
import {
  type ExitCode,
  type Failure,
  failureOf,
  printFailure,
  readPolicy,
  VERIFIED,
  worst,
} from './outcome.ts'
import { fit, formatCount, formatDuration, formatTime, plural, printable } from './text.ts'
import { type Terminal, UnusableError, type World } from './world.ts'

export interface VerifyOptions {
  readonly policy: string
  readonly json?: boolean
}

export async function verifyCommand(
  world: World,
  files: readonly string[],
  options: VerifyOptions,
): Promise<ExitCode> {
  const results: object[] = []
  const codes: ExitCode[] = []
  const policy = await attempt(() => readPolicy(world, options.policy))
  for (const [at, file] of files.entries()) {
    const outcome =
      'failure' in policy ? policy : await verifyFile(world, file, policy.value, files.indexOf(file) < at)
    if ('failure' in outcome) {
      const { exit, ...rest } = outcome.failure
      codes.push(exit)
      results.push({ file, result: exit === 1 ? 'bad' : 'not checked', ...rest })
      if (options.json !== true && ('value' in policy || at === 0)) {
        printFailure(world.err, 'value' in policy ? file : files.join(', '), outcome.failure)
      }
    } else {
      codes.push(VERIFIED)
      results.push({ file, ...verifiedJson(outcome.value) })
      if (options.json !== true) printVerified(world.out, file, outcome.value)
    }
  }
  if (options.json === true)
    world.out.write(`${JSON.stringify(results.length === 1 ? results[0] : results, null, 2)}\n`)
  return worst(codes)
}

type Outcome<T> = { readonly value: T } | { readonly failure: Failure }

async function verifyFile(
  world: World,
  file: string,
  policy: Policy,
  again: boolean,
): Promise<Outcome<VerifiedExecution>> {
  return attempt(async () => {
    if (file === '-' && again) throw new UnusableError('standard input was read already', 'Name - once.')
    const evidence = await readEvidence(world, file)
    return verify(evidence, policy)
  })
}

/** The bytes of a bundle. What is too large to be one is bad evidence, as the parser would say. */
export async function readEvidence(world: World, file: string): Promise<Uint8Array> {
  const evidence = await world.read(file, MAX_BUNDLE + 1)
  if (evidence.length === 0) throw new VerificationError('malformed', 'bundle', 'the file is empty')
  return evidence
}

async function attempt<T>(step: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { value: await step() }
  } catch (error) {
    return { failure: failureOf(error) }
  }
}

function printVerified(to: Terminal, file: string, execution: VerifiedExecution): void {
  const { bold, green, dim } = to.colors
  const { checkpoint, segments, records, verdict } = execution
  const { start, end } = timesOf(records)
  const row = (name: string, text: string): string => `  ${dim(name.padEnd(12))}  ${printable(text)}\n`
  const axis = (name: string, state: string, detail: readonly string[]): string => {
    const [first = '', ...more] = detail
    const head = first === '' ? state : `${state}: ${first}`
    return row(name, head) + more.map((line) => row('', line)).join('')
  }
  const first = segments[0]!
  const last = segments.at(-1)!
  const context = describeContext(execution.context)
  to.write(
    [
      `${green(bold('VERIFIED'))}  ${printable(file)}\n`,
      row(
        'execution',
        formatHex(execution.traceId) + (execution.tenant === '' ? '' : `, tenant ${execution.tenant}`),
      ),
      row('log', `${checkpoint.origin}, ${plural(checkpoint.size, 'leaf', 'leaves')}`),
      row('root', formatBase64(checkpoint.root)),
      row('signed by', execution.signedBy.join(', ')),
      row(
        'records',
        `${formatCount(records.length)} in ${plural(segments.length, 'segment')}, leaves ${first.first} to ${last.first + last.count - 1}: ${describeCounts(countRecords(records))}`,
      ),
      ...(start === 0n ? [] : [row('services', describeServices(execution))]),
      ...(records.some(isFact) ? [row('facts', describeTiers(execution))] : []),
      ...(start === 0n ? [] : [row('time', `${formatTime(start)}, ${formatDuration(end - start)}`)]),
      '\n',
      ...describeMissing(execution).map(([name, text]) => row(name, text)),
      axis('integrity', `verified up to size ${verdict.integrity.size}`, []),
      axis('continuity', verdict.continuity.state, verdict.continuity.detail),
      axis('completeness', verdict.completeness.state, verdict.completeness.detail),
      axis('assurance', verdict.assurance.state, verdict.assurance.detail),
      ...(context === undefined ? [] : [row('context', context)]),
      '\n',
      `  ${dim('not checked')}\n`,
      ...execution.notChecked.map((line) => `  - ${printable(line)}\n`),
    ].join(''),
  )
}

/** Claims of a disclosure that are printed; `inspect` shows all. */
const MAX_SHOWN = 50

/** What was erased, by whom and why; what is withheld; what is shown in spite of that. */
function describeMissing({ erasures, records, segments }: VerifiedExecution): [string, string][] {
  const lines: [string, string][] = erasures.map((erasure) => [
    'erased',
    `${erasure.scope === 'execution' ? 'everything' : `attributes ${erasure.keys.join(', ')}`}, commitment intact: ` +
      `by ${erasure.by}, ${formatTime(erasure.at)}, because: ${erasure.reason} (by ${erasure.selector.join(' and ')}, leaf ${erasure.index})`,
  ])
  if (!segments.some(({ form }) => form === 'opened')) return lines
  const { spans, claims } = missingOf(segments)
  const what = isDisclosure(segments) ? 'withheld' : 'missing'
  lines.push([what, `${plural(spans, 'span')}, ${plural(claims, 'claim')}`])
  const shown = records.filter(({ span }) => span === undefined).flatMap((record) => shownClaims(record))
  for (const { key, value } of shown.slice(0, MAX_SHOWN)) lines.push(['shown', `${key} = ${value}`])
  if (shown.length > MAX_SHOWN) lines.push(['shown', `and ${plural(shown.length - MAX_SHOWN, 'claim')} more`])
  return lines
}

function describeServices({ records }: VerifiedExecution): string {
  return servicesOf(records)
    .map(({ name, spans }) => `${name === '' ? 'without a name' : fit(name, 80)} (${plural(spans, 'span')})`)
    .join(', ')
}

/** Facts by their evidence tier, the best last. */
function describeTiers(execution: VerifiedExecution): string {
  const counts = Object.entries(tiersIn(execution).count()).filter(([, count]) => count > 0)
  return counts.map(([tier, count]) => `${formatCount(count)} ${tier}`).join(', ')
}

export function describeCounts(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${formatCount(count)} ${name}`)
    .join(', ')
}
