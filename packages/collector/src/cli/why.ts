/** `rootspan why`: the five answers about an execution, from a running collector. */
import type { Command } from 'commander'
import type { z } from 'zod'
import type { Why } from '../api/schema.ts'
import { printable } from '../text.ts'
import { askApi, DEFAULT_API, unanswered } from './ask-api.ts'
import { colorsOf, type Io } from './io.ts'

type WhyAnswers = z.output<typeof Why>

export function addWhy(program: Command, io: Io): void {
  program
    .command('why')
    .summary('say why an execution ran, and by whose authority')
    .description(
      'Asks a running collector why an execution ran, who authorized it, what policy permitted it, how trust persisted and whether governance stayed continuous. To rely on the answers, download the evidence and ask rootspan-verify why. Exit code 2 when there is no answer.',
    )
    .argument('<trace>', 'the trace id of the execution: 32 hex digits')
    .option('--json', 'print JSON')
    .option('--url <url>', 'the API of the collector', DEFAULT_API)
    .addHelpText(
      'after',
      '\nExamples:\n  $ rootspan why 4bf92f3577b34da6a3ce929d0e0e4736\n  $ rootspan why 4bf92f3577b34da6a3ce929d0e0e4736 --json',
    )
    .action(async (trace: string, options: { json?: boolean; url: string }) => {
      if (!/^[0-9a-f]{32}$/i.test(trace))
        throw unanswered(`${JSON.stringify(trace)} is no trace id`, 'Give 32 hex digits.')
      const { Why } = await import('../api/schema.ts')
      const answers = await askApi(options.url, `/api/v1/executions/${trace.toLowerCase()}/why`, Why)
      io.stdout.write(options.json === true ? `${JSON.stringify(answers, null, 2)}\n` : whyText(answers, io))
    })
}

function whyText({ traceId, checkpointSize, answers }: WhyAnswers, io: Io): string {
  const { bold, dim, yellow } = colorsOf(io.stdout, io.env)
  const lines = [`execution ${traceId}`]
  for (const { title, clauses } of answers) {
    lines.push('', bold(printable(title)))
    for (const { text, basis, standing, records } of clauses) {
      const tier = standing === undefined ? '' : ` (${printable(standing)})`
      lines.push(`  ${printable(text)}${tier}.${basis === 'recorded' ? '' : yellow(` [${basis}]`)}`)
      for (const line of proofOf(records, checkpointSize)) lines.push(dim(`    ${line}`))
    }
  }
  return [
    ...lines,
    '',
    dim('The collector says so. To check it: download the evidence, and ask rootspan-verify why.'),
    '',
  ].join('\n')
}

function proofOf(
  records: WhyAnswers['answers'][number]['clauses'][number]['records'],
  size: number,
): string[] {
  const known = records.flatMap(({ leafIndex }) => (leafIndex === undefined ? [] : [leafIndex]))
  const places = [...new Set(known)].sort((a, b) => a - b)
  const elsewhere = records.length - known.length
  return [
    ...(places.length === 0
      ? []
      : [
          `${places.length === 1 ? 'leaf' : 'leaves'} ${places.join(', ')}, under the checkpoint of size ${size}`,
        ]),
    ...(elsewhere === 0 ? [] : [`${elsewhere} of another execution`]),
  ]
}
