/** The reference of the continuity rules, `docs/audit/rules.md`, from the rules' own descriptions. */
import type { Rule } from '../packages/lineage/src/continuity/rule.ts'
import { RULES } from '../packages/lineage/src/continuity/ruleset.ts'
import { NEXT_STATES, TERMINAL } from '../packages/lineage/src/continuity/state.ts'

/** Path from the repository's root. */
export const RULES_FILE = 'docs/audit/rules.md'

/** Groups by the letter in a rule's id. */
const GROUPS: ReadonlyMap<string, readonly [title: string, about: string]> = new Map([
  ['A', ['Authorization', 'Who was authorized to what, and whether that held when it was used.']],
  ['C', ['Coverage', 'Whether the evidence is whole.']],
  ['D', ['Decision', 'What a policy answered, and whether what was done follows from it.']],
  ['L', ['Delegation', 'What was handed on, and to whom.']],
  ['N', ['Ancestry', 'Who caused whom.']],
  ['P', ['Policy', 'Which version of a policy decided.']],
  ['R', ['Runtime', 'What happens while an execution runs.']],
  ['T', ['Time', 'Clocks, and what came when.']],
])

export async function rulesText(): Promise<string> {
  const groups = [...GROUPS].map(([letter, [title, about]]) => {
    const rules = RULES.filter(({ id }) => id.startsWith(`GC-${letter}`))
    return rules.length === 0 ? '' : `## ${title}\n\n${about}\n\n${rules.map(section).join('\n')}`
  })
  const letters = RULES.filter(({ id }) => !GROUPS.has(id[3]!))
  if (letters.length > 0) throw new Error(`${letters[0]!.id} is in no group`)
  return [INTRO, table(), '', ...groups.filter((text) => text !== ''), states()].join('\n')
}

const INTRO = `# Continuity rules

Written by \`npm run generate\` from the rules themselves. The same texts come from \`rootspan rules list\` and
\`rootspan rules explain GC-D02\`; \`rootspan rules test FILE\` tries them on OTLP requests in a file, without a log.

A rule looks at one execution and comes to one of three results, or to none where there is nothing to look at:
**pass**, **fail**, which gives findings, or **unknown**, with what would have to be known. What is not instrumented is
unknown, never passed. The collector judges when it seals a segment, and whoever verifies judges again from the evidence
and comes to the same. A finding of the severity *low* is a note: it does not break continuity.

A rule is **local** if all that it looks at is in the evidence, or **contextual** if it also looks at other executions;
what the collector knew of those is in the evidence, too, and in the seal's digest.
`

function table(): string {
  const rows = RULES.map(
    ({ id, title, severity, scope }) =>
      `| [${id}](#${anchor(id, title)}) | ${title} | ${severity} | ${scope} |`,
  )
  return ['| rule | | severity | scope |', '|---|---|---|---|', ...rows].join('\n')
}

/** As GitHub makes it of a heading. */
function anchor(id: string, title: string): string {
  return `${id} ${title}`
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, '')
    .replaceAll(' ', '-')
}

function section({ id, version, title, severity, scope, looksAt, guards, remedy }: Rule): string {
  return [
    `### ${id} ${title}`,
    '',
    `*${severity}, ${scope}, version ${version}*`,
    '',
    `**Looks at:** ${looksAt}`,
    '',
    ...guards.map((guard) => `- ${guard}`),
    '',
    `**Remedy:** ${remedy}`,
    '',
  ].join('\n')
}

function states(): string {
  const rows = Object.entries(NEXT_STATES).map(([state, next]) => {
    const name = TERMINAL.has(state) ? `**${state}**` : state
    return `| ${name} | ${next.length === 0 ? 'nothing' : next.join(', ')} |`
  })
  return [
    '## States of an execution',
    '',
    'A transition of the type `state` says which state an execution goes to, and `governance.execution.state` on the span',
    'that a request began with says in which state it ended. They are about the nearest request at or above the span that',
    'says them. In states in bold nothing runs any more. A human may override anything that is not sealed.',
    '',
    '| from | to |',
    '|---|---|',
    ...rows,
    '',
  ].join('\n')
}
