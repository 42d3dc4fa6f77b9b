/** `rootspan rules`: which continuity rules there are, what each means, and what they find in a file. */
import { formatHex } from '@rootspan/lineage/bytes'
import { continuityOf } from '@rootspan/lineage/continuity/judgement'
import type { Rule, Severity } from '@rootspan/lineage/continuity/rule'
import { RULES, RULESET_DIGEST, ruleOf } from '@rootspan/lineage/continuity/ruleset'
import { MalformedError } from '@rootspan/lineage/errors'
import { Argument, type Command } from 'commander'
import { nodeFiles } from '../files.ts'
import type { JudgedExecution } from '../judge-file.ts'
import { OperatorError } from '../operator-error.ts'
import { readSmallFile } from '../read-file.ts'
import { printable } from '../text.ts'
import { FoundProblems } from './fsck.ts'
import { type Colors, colorsOf, type Io } from './io.ts'

/** A file that is judged is read as a whole: bytes. */
const MAX_FILE = 256 << 20

const WHAT = ['list', 'explain', 'test'] as const

export function addRules(program: Command, io: Io): void {
  program
    .command('rules')
    .summary('list and explain continuity rules, or try them on a file')
    .description(
      'Lists the continuity rules, explains one, or judges the executions in a file: OTLP requests as protobuf, JSON or JSON lines. A file is judged without a log, as of an hour after its last span. Exit code 1 when a rule finds something.',
    )
    .addArgument(new Argument('<what>', 'what to do').choices(WHAT))
    .argument('[operand]', 'the id of a rule to explain, or the file to test')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  $ rootspan rules list\n  $ rootspan rules explain GC-D02\n  $ rootspan rules test traces.json --json',
    )
    .action(async (what: (typeof WHAT)[number], operand: string | undefined, options: { json?: boolean }) => {
      const isJson = options.json === true
      if (what === 'list') {
        if (operand !== undefined) throw wrong('rules list takes nothing more', 'Leave it out.')
        io.stdout.write(
          isJson ? json({ ruleset: formatHex(RULESET_DIGEST), rules: RULES.map(plain) }) : list(io),
        )
      } else if (what === 'explain') {
        const rule = ruleOf(operand?.toUpperCase() ?? '')
        if (rule === undefined)
          throw wrong(
            operand === undefined
              ? 'rules explain needs the id of a rule'
              : `there is no rule ${JSON.stringify(operand)}`,
            'rootspan rules list shows them all.',
          )
        io.stdout.write(isJson ? json(plain(rule)) : explain(rule, io))
      } else await testFile(operand, isJson, io)
    })
}

function wrong(message: string, hint: string): OperatorError {
  return new OperatorError(message, hint, { exitCode: 2 })
}

function json(value: unknown): string {
  return `${JSON.stringify(value)}\n`
}

function plain({ evaluate: _, ...rule }: Rule): object {
  return rule
}

export function colored(severity: Severity, colors: Colors): string {
  const text = severity.padEnd(8)
  if (severity === 'low') return colors.dim(text)
  return severity === 'medium' ? colors.yellow(text) : colors.red(text)
}

function list(io: Io): string {
  const colors = colorsOf(io.stdout, io.env)
  const lines = RULES.map(({ id, severity, title }) => `${id}  ${colored(severity, colors)}  ${title}`)
  return [...lines, `ruleset ${formatHex(RULESET_DIGEST)}`, ''].join('\n')
}

function explain({ id, version, title, severity, scope, looksAt, guards, remedy }: Rule, io: Io): string {
  const colors = colorsOf(io.stdout, io.env)
  return [
    colors.bold(`${id}  ${title}`),
    `${severity}, ${scope}, version ${version}`,
    '',
    `looks at    ${looksAt}`,
    ...guards.map((guard, at) => `${at === 0 ? 'guards' : '      '}      ${guard}`),
    `remedy      ${remedy}`,
    '',
  ].join('\n')
}

async function testFile(path: string | undefined, isJson: boolean, io: Io): Promise<void> {
  if (path === undefined) throw wrong('rules test needs a file', 'Give a file with OTLP requests.')
  const executions = await judge(path)
  io.stdout.write(
    isJson ? json(executions.map(report)) : executions.map((one) => reportText(one, io)).join(''),
  )
  if (executions.some(({ judgement }) => judgement.findings.length > 0)) throw new FoundProblems()
}

async function judge(path: string): Promise<JudgedExecution[]> {
  try {
    const bytes = await readSmallFile(nodeFiles, path, MAX_FILE)
    if (bytes === undefined) throw wrong(`${path}: there is no such file`, 'Give a file with OTLP requests.')
    const { judgeRequests } = await import('../judge-file.ts')
    const executions = judgeRequests(bytes)
    if (executions.length === 0) throw wrong(`${path}: it holds no span`, 'Give a file with OTLP requests.')
    return executions
  } catch (error) {
    if (error instanceof MalformedError || error instanceof TypeError)
      throw new OperatorError(
        `${path}: ${error.message}`,
        'Give a file with OTLP trace requests as protobuf, JSON, or JSON lines.',
        { cause: error, exitCode: 2 },
      )
    throw error
  }
}

function report({ traceId, spans, judgement, spanOf }: JudgedExecution): object {
  return {
    traceId,
    spans,
    continuity: continuityOf(judgement),
    findings: judgement.findings.map(({ rule, severity, detail, subjects }) => ({
      rule,
      severity,
      detail,
      spans: [...new Set(subjects.map((leaf) => spanOf.get(formatHex(leaf)) ?? 'elsewhere'))],
    })),
    unknown: judgement.results.flatMap(({ rule, missing }) =>
      missing.length > 0 ? [{ rule, missing }] : [],
    ),
  }
}

function reportText({ traceId, spans, judgement }: JudgedExecution, io: Io): string {
  const colors = colorsOf(io.stdout, io.env)
  const { findings, results } = judgement
  const lines = findings.map(
    ({ rule, severity, detail }) => `  ${rule}  ${colored(severity, colors)}  ${printable(detail)}`,
  )
  const missing = results.flatMap(({ rule, missing }) =>
    missing.map((what) => colors.dim(`  ${rule}  unknown   ${printable(what)}`)),
  )
  const state = continuityOf(judgement)
  const verdict =
    state === 'intact' ? colors.green(state) : state === 'broken' ? colors.red(state) : colors.yellow(state)
  const judged = results.length === 0 ? ': nothing in it says what governs it' : ''
  return [
    `${traceId}  ${spans} ${spans === 1 ? 'span' : 'spans'}  ${verdict}${judged}`,
    ...lines,
    ...missing,
    '',
  ].join('\n')
}
