/**
 * The configuration: a YAML file, the environment and the command line in, one checked object out.
 *
 * Flags win over the file, the file over the defaults. Everything is checked before anything is opened, and every
 * problem is reported, with line and column.
 */
import { readFileSync } from 'node:fs'
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  stringify,
  visit,
} from 'yaml'
import * as z from 'zod'
import { configSchema, type RawConfig } from './config-schema.ts'
import { OperatorError } from './operator-error.ts'

/**
 * The checked configuration. Names are those of the file in camel case; sizes are bytes, durations milliseconds,
 * endpoints host and port.
 */
export type Config = CamelKeys<RawConfig>

/** Settings from the command line, as typed. */
export interface ConfigFlags {
  readonly data?: string | undefined
  readonly signer?: string | undefined
  readonly grpc?: string | undefined
  readonly http?: string | undefined
  readonly api?: string | undefined
  readonly quietPeriod?: string | undefined
  readonly logLevel?: string | undefined
}

/** One setting, for the reference page. */
export interface Setting {
  /** With dots, as in `receivers.grpc.endpoint`. */
  readonly path: string
  /** As it would be written in the file; undefined where there is no default. */
  readonly default: unknown
  readonly description: string
}

/** A configuration that is refused. `problems` are whole lines, each with its place. */
export class ConfigError extends OperatorError {
  override readonly name = 'ConfigError'
  readonly problems: readonly string[]

  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(problems.join('\n'), 'Correct the configuration; rootspan config --help shows how to check it.', {
      ...options,
      exitCode: 2,
    })
    this.problems = problems
  }
}

/** Which flag sets which setting. */
const FLAGS: Readonly<Record<keyof ConfigFlags, string>> = {
  data: 'storage.directory',
  signer: 'signer.directory',
  grpc: 'receivers.grpc.endpoint',
  http: 'receivers.http.endpoint',
  api: 'api.endpoint',
  quietPeriod: 'assembler.quiet_period',
  logLevel: 'logs.level',
}

/** Reads and checks the configuration; without a file, it is the defaults. Throws a {@link ConfigError}. */
export function loadConfig(options: {
  readonly file?: string | undefined
  readonly flags?: ConfigFlags
  readonly env: Readonly<Record<string, string | undefined>>
}): Config {
  const { file, flags = {}, env } = options
  if (file === undefined) return parseConfig('', 'configuration', { flags, env })
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file))
  } catch (error) {
    throw new ConfigError([`${file}: cannot be read: ${error instanceof Error ? error.message : error}`], {
      cause: error,
    })
  }
  return parseConfig(text, file, { flags, env })
}

/** {@link loadConfig} on the text of a file. `name` is the file's, for messages. */
export function parseConfig(
  text: string,
  name: string,
  {
    flags = {},
    env,
  }: { readonly flags?: ConfigFlags; readonly env: Readonly<Record<string, string | undefined>> },
): Config {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const place = (offset: number | undefined): string => {
    if (offset === undefined) return name
    const { line, col } = lines.linePos(offset)
    return `${name}:${line}:${col}`
  }
  const broken = [...document.errors, ...document.warnings]
  if (broken.length > 0)
    throw new ConfigError(
      broken.map(({ code, message, pos }) =>
        code === 'MULTIPLE_DOCS' ? `${place(pos[0])}: a second document` : `${place(pos[0])}: ${message}`,
      ),
    )

  const problems = substitute(document, env, place)
  if (problems.length > 0) throw new ConfigError(problems)
  const values = toValues(document, place)
  const flagged = applyFlags(values, flags)
  const parsed = configSchema.safeParse(values)
  if (parsed.success) return camelKeys(parsed.data) as Config
  throw new ConfigError(
    parsed.error.issues.flatMap((issue) =>
      describeIssue(issue).map(({ path, message, key }) => {
        const flag = flagged.get(path.join('.'))
        const where = flag ?? place(findOffset(document, path, key))
        return flag === undefined && path.length > 0
          ? `${where}: ${path.join('.')}: ${message}`
          : `${where}: ${message}`
      }),
    ),
  )
}

/** The effective configuration as YAML that gives the same one when it is loaded. */
export function formatConfig(config: Config): string {
  return stringify(z.encode(configSchema, snakeKeys(config) as RawConfig))
}

/** The JSON Schema (draft 2020-12) of the file, for editors. */
export function configJsonSchema(): Record<string, unknown> {
  return { ...z.toJSONSchema(configSchema, { io: 'input' }), title: 'Rootspan collector configuration' }
}

/** Every setting, in the order of the schema. */
export function listSettings(): Setting[] {
  return walkSettings(configJsonSchema(), '')
}

type Camel<Key> = Key extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : Key

type CamelKeys<T> = T extends readonly unknown[]
  ? Readonly<T>
  : T extends object
    ? { readonly [Key in keyof T as Camel<Key & string>]: CamelKeys<T[Key]> }
    : T

/**
 * Replaces `${env:NAME}` and `${env:NAME:-default}` in every scalar; `$${` stands for `${`. A variable can give a
 * value, never structure: what comes out is not parsed as YAML again, only `true`, `false`, whole numbers and
 * nothing at all get their type where the scalar was not quoted. An empty variable counts as unset when there is a
 * default, as in a shell.
 */
function substitute(
  document: Document.Parsed,
  env: Readonly<Record<string, string | undefined>>,
  place: (offset: number | undefined) => string,
): string[] {
  const problems: string[] = []
  visit(document, {
    Scalar(key, node) {
      const text = node.value
      if (key === 'key' || typeof text !== 'string' || !text.includes('${')) return
      const where = place(node.range?.[0])
      const replaced = text.replace(
        /\$\$\{|\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{/g,
        (match, name: string | undefined, fallback: string | undefined) => {
          if (match === '$${') return '${'
          if (name === undefined) {
            problems.push(
              `${where}: expected \${env:NAME} or \${env:NAME:-default}; a literal \${ is written $\${`,
            )
            return match
          }
          const value = env[name]
          if (value !== undefined && (value !== '' || fallback === undefined)) return value
          if (fallback !== undefined) return fallback
          problems.push(`${where}: the environment has no ${name}; set it, or write \${env:${name}:-default}`)
          return match
        },
      )
      node.value = node.type === 'PLAIN' ? typed(replaced) : replaced
    },
  })
  return problems
}

function typed(text: string): unknown {
  if (text === '') return null
  if (text === 'true' || text === 'false') return text === 'true'
  return /^-?(?:0|[1-9][0-9]{0,14})$/.test(text) ? Number(text) : text
}

type Values = { [key: string]: unknown }

/** The document as plain objects. A setting without a value is one that is not there. */
function toValues(document: Document.Parsed, place: (offset: number | undefined) => string): Values {
  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    throw new ConfigError([`${place(0)}: ${error instanceof Error ? error.message : error}`], {
      cause: error,
    })
  }
  if (value === null || value === undefined) return {}
  if (!isTable(value)) throw new ConfigError([`${place(0)}: expected a table of settings`])
  return dropEmpty(value)
}

function dropEmpty(values: Values): Values {
  const kept = Object.entries(values).filter(([, value]) => value !== null)
  return Object.fromEntries(kept.map(([key, value]) => [key, isTable(value) ? dropEmpty(value) : value]))
}

/** Sets what the flags say; returns the flag of each setting that one of them set. */
function applyFlags(values: Values, flags: ConfigFlags): Map<string, string> {
  const flagged = new Map<string, string>()
  for (const [flag, path] of Object.entries(FLAGS)) {
    const value = flags[flag as keyof ConfigFlags]
    if (value === undefined) continue
    const keys = path.split('.')
    const last = keys.pop()!
    let table = values
    for (const key of keys) {
      if (!isTable(table[key])) table[key] = {}
      table = table[key] as Values
    }
    table[last] = value
    flagged.set(path, `--${flag.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`)
  }
  return flagged
}

interface Described {
  readonly path: readonly string[]
  readonly message: string
  /** The unknown key itself, where there is one. */
  readonly key?: string
}

function describeIssue(issue: z.core.$ZodIssue): Described[] {
  const path = issue.path.map(String)
  if (issue.code !== 'unrecognized_keys') {
    const message = issue.message.startsWith('Invalid input: expected object')
      ? 'expected a table of settings'
      : issue.message
    return [{ path, message }]
  }
  return issue.keys.map((key) => ({ path: [...path, key], key, message: describeUnknown(path, key) }))
}

/**
 * Names the nearest known setting: the most alike in the same table, else the one of the same name elsewhere, else
 * all of the table.
 */
function describeUnknown(table: readonly string[], key: string): string {
  const prefix = table.map((part) => `${part}.`).join('')
  const paths = listSettings().map((setting) => setting.path)
  const siblings = namesIn(table)
  const [nearest] = siblings
    .map((name) => ({ name, distance: editDistance(plain(name), plain(key)) }))
    .sort((a, b) => a.distance - b.distance)
  if (nearest !== undefined && nearest.distance <= Math.max(2, Math.floor(key.length / 3)))
    return `unknown, did you mean ${prefix}${nearest.name}?`
  const elsewhere = paths.filter((path) => plain(path.split('.').at(-1)!) === plain(key))
  if (elsewhere.length > 0) return `unknown here, did you mean ${elsewhere.join(' or ')}?`
  return `unknown; known here: ${siblings.join(', ')}`
}

/** What is known in a table, or in an entry of a list. */
function namesIn(table: readonly string[]): string[] {
  let schema: Record<string, unknown> = configJsonSchema()
  for (const part of table) {
    const properties = schema.properties as Record<string, unknown> | undefined
    schema = (properties === undefined ? schema.items : properties[part]) as typeof schema
  }
  return Object.keys(schema.properties as object)
}

/** `quietPeriod` and `quiet-period` are `quiet_period` to whoever looks for the nearest. */
function plain(key: string): string {
  return key.toLowerCase().replace(/[_-]/g, '')
}

/** How many letters to insert, delete, replace or swap with their neighbour. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1
      row[j] = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + same)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        row[j] = Math.min(row[j]!, rows[i - 2]![j - 2]! + 1)
    }
    rows.push(row)
  }
  return rows[a.length]![b.length]!
}

/** Where a setting is in the text: at its value, or at its key when the key is what is wrong. */
function findOffset(document: Document.Parsed, path: readonly string[], key?: string): number | undefined {
  let node: Node | null | undefined = document.contents
  let offset = node?.range?.[0]
  for (const [depth, name] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document)
    if (isSeq(node)) {
      node = node.items[Number(name)] as Node | undefined
      offset = node?.range?.[0] ?? offset
      continue
    }
    if (!isMap(node)) break
    const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === name)
    if (pair === undefined) break
    const value = pair.value as Node | null
    const atKey = key !== undefined && depth === path.length - 1
    offset = (atKey ? undefined : value?.range?.[0]) ?? (pair.key as Node).range?.[0] ?? offset
    node = value
  }
  return offset
}

function walkSettings(schema: Record<string, unknown>, path: string): Setting[] {
  const properties = schema.properties as Record<string, Record<string, unknown>> | undefined
  if (properties === undefined)
    return [{ path, default: schema.default, description: String(schema.description ?? '') }]
  return Object.entries(properties).flatMap(([name, property]) =>
    walkSettings(property, path === '' ? name : `${path}.${name}`),
  )
}

function camelKeys(value: unknown): unknown {
  return mapKeys(value, (key) => key.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()))
}

function snakeKeys(value: unknown): unknown {
  return mapKeys(value, (key) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`))
}

function mapKeys(value: unknown, rename: (key: string) => string): unknown {
  if (!isTable(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [rename(key), mapKeys(item, rename)]))
}

function isTable(value: unknown): value is Values {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
