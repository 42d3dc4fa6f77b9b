/** `rootspan-verify inspect`: draws the tree of an execution. Without a policy, nothing in it is verified. */
import { formatHex } from '@rootspan/lineage/bytes'
import { MalformedError, VerificationError } from '@rootspan/lineage/errors'
import { readUnverified } from '@rootspan/lineage/evidence/execution'
import { verify } from '@rootspan/lineage/verify'
import { type Execution, isFact, tiersIn, timesOf, treeJson } from './execution.ts'
import { type ExitCode, readPolicy, reportFailure, VERIFIED } from './outcome.ts'
import { formatCount, formatDuration, formatTime, plural, printable } from './text.ts'
import { drawTree } from './tree.ts'
import { readEvidence } from './verify-command.ts'
import type { World } from './world.ts'

const TIERS =
  'E0 inferred or unmarked, E1 said by the service itself, E2 counted and authenticated, E3 from outside: docs/audit/tiers.md'

/** Lines that are written at once. */
const LINES = 500

export interface InspectOptions {
  readonly policy?: string
  readonly json?: boolean
}

export async function inspectCommand(world: World, file: string, options: InspectOptions): Promise<ExitCode> {
  const isVerified = options.policy !== undefined
  let shown: Execution & { origin: string; size: number }
  try {
    shown = await load(world, file, options.policy)
  } catch (error) {
    return reportFailure(world, { file }, options.json === true, error)
  }
  const { out } = world
  if (options.json === true) {
    const head = { file, verified: isVerified, origin: shown.origin, treeSize: shown.size }
    out.write(`${JSON.stringify({ ...head, ...treeJson(shown) }, null, 2)}\n`)
    return VERIFIED
  }
  const { bold, green, yellow, dim } = out.colors
  const warning = 'nothing was checked: no signature, no proof, no commitment. Add --policy to verify.'
  out.write(
    isVerified
      ? `${green(bold('VERIFIED'))}  ${printable(file)}\n`
      : `${yellow(bold('UNVERIFIED'))}  ${printable(file)}\n  ${yellow(warning)}\n`,
  )
  const { start, end } = timesOf(shown.records)
  const tenant = shown.tenant === '' ? '' : `, tenant ${printable(shown.tenant)}`
  out.write(
    `  ${dim('execution')}  ${formatHex(shown.traceId)}${tenant}\n` +
      `  ${dim('log')}        ${printable(shown.origin)}, ${plural(shown.size, 'leaf', 'leaves')}\n` +
      `  ${dim('records')}    ${formatCount(shown.records.length)} in ${plural(shown.segments.length, 'segment')}\n` +
      `  ${dim('time')}       ${formatTime(start)}, ${formatDuration(end - start)}\n\n`,
  )
  let lines: string[] = []
  for (const line of drawTree(shown, out)) {
    lines.push(line)
    if (lines.length < LINES) continue
    out.write(`${lines.join('\n')}\n`)
    lines = []
  }
  out.write(lines.map((line) => `${line}\n`).join(''))
  if (shown.tiers !== undefined && shown.records.some(isFact)) out.write(`\n  ${dim(TIERS)}\n`)
  return VERIFIED
}

async function load(
  world: World,
  file: string,
  policyFile: string | undefined,
): Promise<Execution & { origin: string; size: number }> {
  if (policyFile !== undefined) {
    const policy = await readPolicy(world, policyFile)
    const verified = verify(await readEvidence(world, file), policy)
    const { origin, size } = verified.checkpoint
    return { ...verified, origin, size, tiers: tiersIn(verified) }
  }
  const evidence = await readEvidence(world, file)
  try {
    return readUnverified(evidence)
  } catch (error) {
    if (error instanceof MalformedError)
      throw new VerificationError('malformed', 'bundle', error.message, { cause: error })
    throw error
  }
}
