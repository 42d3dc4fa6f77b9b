/**
 * The attribute registry, `docs/semantic-conventions/registry`: YAML in the format of OpenTelemetry Weaver, version 1.
 * Read here, and turned into the instrumentation's table of names and into the reference page.
 *
 * An attribute is one entry, in the group of the facts that it belongs to; the event of that name extends the group.
 */
import { glob, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'yaml'
import { TABLE } from '../packages/instrumentation/src/facts.ts'
import { root } from './workspace.ts'

const DIRECTORY = 'docs/semantic-conventions'
/** Paths from the repository's root. */
export const REGISTRY = `${DIRECTORY}/registry`
export const REFERENCE_FILE = `${DIRECTORY}/README.md`
export const NAMES_FILE = 'packages/instrumentation/src/attributes.ts'

type Level = string | Readonly<Record<string, string>>

export interface Attribute {
  readonly id: string
  readonly type: string | { readonly members: readonly Member[] }
  readonly requirement_level?: Level
  readonly brief: string
  readonly note?: string
  readonly examples?: readonly unknown[]
  readonly annotations?: { readonly rootspan?: { readonly emitted?: boolean } }
}

interface Member {
  readonly value: string
  readonly brief?: string
}

interface Reference {
  readonly ref: string
  readonly requirement_level?: Level
}

export interface Group {
  readonly id: string
  readonly type: 'attribute_group' | 'event'
  /** Of an event. */
  readonly name?: string
  readonly display_name?: string
  readonly extends?: string
  readonly brief: string
  readonly note?: string
  readonly attributes?: readonly (Attribute | Reference)[]
}

export interface Registry {
  readonly schemaUrl: string
  /** Files by name, as parsed. */
  readonly files: ReadonlyMap<string, { readonly groups: readonly Group[] }>
  readonly groups: readonly Group[]
  /** By name, in the order of names. */
  readonly attributes: ReadonlyMap<string, Attribute>
}

export async function readRegistry(): Promise<Registry> {
  const read = async (name: string) => parse(await readFile(join(root, REGISTRY, name), 'utf8'))
  const names: string[] = []
  for await (const name of glob('*.yaml', { cwd: join(root, REGISTRY) })) names.push(name)
  const files = new Map<string, { groups: Group[] }>()
  for (const name of names.sort()) if (name !== 'manifest.yaml') files.set(name, await read(name))
  const groups = [...files.values()].flatMap((file) => file.groups)
  const attributes = new Map<string, Attribute>()
  for (const { attributes: own = [] } of groups)
    for (const one of own) {
      if ('ref' in one) continue
      if (attributes.has(one.id)) throw new Error(`${one.id} is in the registry twice`)
      attributes.set(one.id, one)
    }
  const sorted = [...attributes].sort(([a], [b]) => (a < b ? -1 : 1))
  const { schema_url: schemaUrl } = (await read('manifest.yaml')) as { schema_url: string }
  return { schemaUrl, files, groups, attributes: new Map(sorted) }
}

/** Names of the attributes of an event or a group, those that it extends and refers to among them. */
export function namesOf(registry: Registry, group: Group): string[] {
  const base = registry.groups.find(({ id }) => id === group.extends)
  const own = (group.attributes ?? []).map((one) => ('ref' in one ? one.ref : one.id))
  return [...(base === undefined ? [] : namesOf(registry, base)), ...own]
}

/** The type of an attribute's values; an enum's are strings. */
export function typeOf({ type }: Attribute): string {
  return typeof type === 'string' ? type : 'string'
}

/** The instrumentation's own table. */
export async function namesText(): Promise<string> {
  const { schemaUrl, attributes } = await readRegistry()
  const rows = [...attributes.values()].map((one) => `  '${one.id}': '${typeOf(one)}',\n`)
  return `/** Written by \`npm run generate\` from ${REGISTRY}: change that, not this. */

/** Of the conventions that these names are part of. */
export const SCHEMA_URL = '${schemaUrl}'

/** Every attribute of the registry, and the type of its values. */
export const ATTRIBUTES = {
${rows.join('')}} as const

export type AttributeName = keyof typeof ATTRIBUTES
`
}

/** How values leave the process, by the form that the instrumentation's own table gives them. */
const FORMS: Readonly<Record<string, string>> = {
  secret: 'fingerprint',
  identity: 'fingerprint, or in clear',
  identities: 'fingerprints, or in clear',
  content: 'commitment',
}

/** The reference page. */
export async function referenceText(): Promise<string> {
  const registry = await readRegistry()
  const sections = registry.groups.filter(({ type }) => type === 'attribute_group')
  return `${intro(registry.schemaUrl)}\n${sections.map((group) => section(registry, group)).join('\n')}`
}

function intro(schemaUrl: string): string {
  return `# Attributes

Written by \`npm run generate\` from the registry in [registry](registry), which is in the format of
[OpenTelemetry Weaver](https://github.com/open-telemetry/weaver) and can be checked with it:

\`\`\`text
weaver registry check -r ${REGISTRY}
\`\`\`

The schema URL is \`${schemaUrl}\`; spans of the instrumentation's own scope carry it. All of it is in development.
\`@rootspan/instrumentation\` writes these attributes in Node; any other service may write them itself, and the collector
reads them from whoever sends them ([what becomes of a span](../instrument/README.md#what-becomes-of-a-span)).

Authorizations, verifications, decisions and transitions are **events** on the span in which they happened, each with the
name of its group: \`governance.decision\`. Actions and executions are **spans**, and have attributes of their own.

Values that are secret or personal never stand in an attribute as they are. A **fingerprint** is
\`hmac-sha256:\` and an HMAC with the operator's key, so that equal values are recognised by those who have the same key.
A **commitment** is the same over the canonical JSON (RFC 8785) of a value. Attributes without a mark below are in clear.

What OpenTelemetry's conventions name already is not named again. They are read where they stand: \`http.*\`, \`url.*\`,
\`server.*\`, \`db.*\`, \`rpc.*\` and \`messaging.*\` for what an action is; \`gen_ai.*\` and \`mcp.*\` for agents and tools;
\`service.*\` and \`deployment.environment.name\` for who acts; \`user.*\`, \`enduser.*\` and \`session.id\` for people, as far
as a service sends them. There is no convention for authorization, policy or decisions.

Levels: **required** and *recommended* as OpenTelemetry defines them; what is not known is absent, never guessed.
`
}

function section(registry: Registry, group: Group): string {
  const title = group.display_name ?? group.id
  const event = registry.groups.find((one) => one.extends === group.id)
  const lines = [`## ${title}`, '', group.brief]
  if (group.note !== undefined) lines.push('', group.note.trim())
  if (event !== undefined) lines.push('', `Event \`${event.name}\`: ${event.brief}`)
  const also = (event?.attributes ?? []).flatMap((one) => ('ref' in one ? [`\`${one.ref}\``] : []))
  if (also.length > 0) lines.push(`It may have ${also.join(', ')} as well.`)
  lines.push('', '| attribute | type | level | meaning |', '|---|---|---|---|')
  for (const one of group.attributes ?? []) if (!('ref' in one)) lines.push(row(one))
  return `${lines.join('\n')}\n`
}

function row(attribute: Attribute): string {
  const { id, type, brief, note, examples = [] } = attribute
  const words: string[] = [brief]
  if (typeof type !== 'string')
    words.push(
      `${type.members.map((one) => `\`${one.value}\`${one.brief === undefined ? '' : ` (${one.brief.replace(/\.$/, '')})`}`).join(', ')}.`,
    )
  if (note !== undefined) words.push(note.trim())
  const form = FORMS[formOf(id) ?? '']
  if (form !== undefined) words.push(`**As ${form}.**`)
  else if (examples.length > 0) words.push(`Such as ${examples.map(example).join(', ')}.`)
  if (attribute.annotations?.rootspan?.emitted === false)
    words.push('Not written by `@rootspan/instrumentation`.')
  const shown = typeof type === 'string' ? type : 'enum'
  return `| \`${id}\` | ${shown} | ${level(attribute)} | ${words.join(' ').replaceAll('|', '\\|')} |`
}

function example(value: unknown): string {
  return Array.isArray(value) ? value.map((one) => `\`${one}\``).join(' and ') : `\`${value}\``
}

function level({ requirement_level: level = 'recommended' }: Attribute): string {
  if (level === 'required') return '**required**'
  if (typeof level === 'string') return `*${level}*`
  return Object.values(level)[0]!
}

/** The form in which the instrumentation writes an attribute. */
export function formOf(id: string): string | undefined {
  return Object.values(TABLE)
    .flatMap((columns): (readonly [string, string])[] => Object.values(columns))
    .find(([name]) => name === id)?.[1]
}
