/** `rootspan-verify why`: verifies, and then answers the five questions, every clause with its records. */
import { formatHex } from '@rootspan/lineage/bytes'
import { continuityOf } from '@rootspan/lineage/continuity/judgement'
import { type Answer, type Clause, why } from '@rootspan/lineage/continuity/why'
import { Persistence } from '@rootspan/lineage/record/entry'
import { type VerifiedExecution, verify } from '@rootspan/lineage/verify'
import { verdictJson } from './execution.ts'
import { type ExitCode, readPolicy, reportFailure, VERIFIED } from './outcome.ts'
import { printable } from './text.ts'
import { readEvidence } from './verify-command.ts'
import type { Colors, World } from './world.ts'

export interface WhyOptions {
  readonly policy: string
  readonly json?: boolean
}

export async function whyCommand(world: World, file: string, options: WhyOptions): Promise<ExitCode> {
  let execution: VerifiedExecution
  try {
    const policy = await readPolicy(world, options.policy)
    execution = verify(await readEvidence(world, file), policy)
  } catch (error) {
    return reportFailure(world, { file }, options.json === true, error)
  }
  const indexOf = new Map(execution.records.map(({ leaf, index }) => [formatHex(leaf), index]))
  const text =
    options.json === true
      ? `${JSON.stringify(whyJson(file, execution, indexOf), null, 2)}\n`
      : whyText(file, execution, indexOf, world.out.colors)
  world.out.write(text)
  return VERIFIED
}

/** A judgement that the verdict does not stand for was not made again. */
function answersOf(execution: VerifiedExecution): readonly Answer[] {
  const { judgement, verdict, records } = execution
  const seal = records.findLast(({ entry }) => entry.persistence === Persistence.sealed)?.leaf
  return why(execution.execution(), judgement, {
    isRecomputed: continuityOf(judgement) === verdict.continuity.state,
    ...(seal !== undefined && { seal }),
  })
}

function whyText(
  file: string,
  execution: VerifiedExecution,
  indexOf: ReadonlyMap<string, number>,
  colors: Colors,
): string {
  const { bold, green, dim, yellow } = colors
  const { checkpoint, traceId } = execution
  const lines = [
    `${green(bold('VERIFIED'))}  ${printable(file)}`,
    `  ${dim('execution')}  ${formatHex(traceId)}`,
    `  ${dim('log')}        ${printable(checkpoint.origin)}`,
  ]
  for (const { title, clauses } of answersOf(execution)) {
    lines.push('', bold(title))
    for (const clause of clauses) {
      const mark = clause.basis === 'recorded' ? '' : yellow(` [${clause.basis}]`)
      lines.push(
        `  ${printable(clause.text)}${tierOf(clause)}.${mark}`,
        ...proofOf(clause, indexOf, checkpoint.size).map(dim).map(indent),
      )
    }
  }
  lines.push('', dim('not checked'), ...execution.notChecked.map((line) => `  - ${printable(line)}`), '')
  return lines.join('\n')
}

/** ` (E1, said by the service itself)` */
function tierOf({ standing }: Clause): string {
  return standing === undefined ? '' : ` (${printable(standing.text)})`
}

function indent(text: string): string {
  return `    ${text}`
}

/** Where the records of a clause are, and what proves them; nothing where the clause has none. */
function proofOf({ records }: Clause, indexOf: ReadonlyMap<string, number>, size: number): string[] {
  const indexes = new Set<number>()
  let elsewhere = 0
  for (const leaf of records) {
    const index = indexOf.get(formatHex(leaf))
    if (index === undefined) elsewhere++
    else indexes.add(index)
  }
  const places = [...indexes].sort((a, b) => a - b)
  return [
    ...(places.length === 0
      ? []
      : [
          `${places.length === 1 ? 'leaf' : 'leaves'} ${places.join(', ')}, proved under the checkpoint of size ${size}`,
        ]),
    ...(elsewhere === 0 ? [] : [`${elsewhere} of another execution, which this evidence does not prove`]),
  ]
}

function whyJson(file: string, execution: VerifiedExecution, indexOf: ReadonlyMap<string, number>): object {
  const answers = answersOf(execution)
  return {
    file,
    ...verdictJson(execution),
    answers: answers.map(({ question, title, clauses }) => ({
      question,
      title,
      clauses: clauses.map(({ text, basis, standing, records }) => ({
        text: text.toWellFormed(),
        basis,
        tier: standing?.tier,
        standing: standing?.text,
        records: records.map((leaf) => ({
          leafHash: formatHex(leaf),
          leafIndex: indexOf.get(formatHex(leaf)),
        })),
      })),
    })),
    notChecked: execution.notChecked,
  }
}
