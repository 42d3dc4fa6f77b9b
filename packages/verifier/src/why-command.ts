/** `rootspan-verify why`: verifies, and then answers the five questions, every clause with its records. */
import { formatHex } from '@rootspan/lineage/bytes'
import { continuityOf } from '@rootspan/lineage/continuity/judgement'
import { type Answer, type Clause, why } from '@rootspan/lineage/continuity/why'
import type { Witness } from '@rootspan/lineage/evidence/witness'
import { Persistence } from '@rootspan/lineage/record/entry'
import { type VerifiedExecution, verify } from '@rootspan/lineage/verify'
import { verdictJson, witnessJson } from './execution.ts'
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
  const text =
    options.json === true
      ? `${JSON.stringify(whyJson(file, execution, placesOf(execution)), null, 2)}\n`
      : whyText(file, execution, placesOf(execution), world.out.colors)
  world.out.write(text)
  return VERIFIED
}

/** Where the records that an answer names are: of the execution, and of others that its context names. */
interface Places {
  readonly own: ReadonlyMap<string, number>
  readonly others: ReadonlyMap<string, Witness>
}

function placesOf({ records, context }: VerifiedExecution): Places {
  return {
    own: new Map(records.map(({ leaf, index }) => [formatHex(leaf), index])),
    others: new Map(context.witnesses.map((witness) => [formatHex(witness.leaf), witness])),
  }
}

/** A judgement that the verdict does not stand for was not made again. */
function answersOf(execution: VerifiedExecution): readonly Answer[] {
  const { judgement, verdict, records, pendingFrom } = execution
  const seals = records.filter(({ entry }) => entry.persistence === Persistence.sealed)
  const seal = seals[Math.max(0, (pendingFrom ?? seals.length) - 1)]?.leaf
  return why(execution.execution(), judgement, {
    isRecomputed: pendingFrom !== undefined || continuityOf(judgement) === verdict.continuity.state,
    pendingFrom,
    ...(seal !== undefined && { seal }),
  })
}

function whyText(file: string, execution: VerifiedExecution, places: Places, colors: Colors): string {
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
        ...proofOf(clause, places, checkpoint.size).map(dim).map(indent),
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
function proofOf({ records }: Clause, { own, others }: Places, size: number): string[] {
  const indexes = new Set<number>()
  const witnesses = new Set<Witness>()
  let elsewhere = 0
  for (const leaf of records) {
    const index = own.get(formatHex(leaf))
    const witness = others.get(formatHex(leaf))
    if (index !== undefined) indexes.add(index)
    else if (witness !== undefined) witnesses.add(witness)
    else elsewhere++
  }
  const places = [...indexes].sort((a, b) => a - b)
  return [
    ...(places.length === 0
      ? []
      : [
          `${places.length === 1 ? 'leaf' : 'leaves'} ${places.join(', ')}, proved under the checkpoint of size ${size}`,
        ]),
    ...[...witnesses].map(
      ({ index, traceId, erased }) =>
        `leaf ${index} of execution ${formatHex(traceId)}, proved likewise; ${
          erased === undefined
            ? 'what is taken from it was checked'
            : `what is taken from it was not checked: it was erased, as leaf ${erased.by} says`
        }`,
    ),
    ...(elsewhere === 0 ? [] : [`${elsewhere} of another execution, which this evidence does not prove`]),
  ]
}

function whyJson(file: string, execution: VerifiedExecution, { own, others }: Places): object {
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
        records: records.map((leaf) => {
          const leafHash = formatHex(leaf)
          const leafIndex = own.get(leafHash)
          const witness = leafIndex === undefined ? others.get(leafHash) : undefined
          return { leafHash, leafIndex, ...(witness !== undefined && witnessJson(witness)) }
        }),
      })),
    })),
    notChecked: execution.notChecked,
  }
}
