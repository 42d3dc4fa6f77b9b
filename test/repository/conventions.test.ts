/** The attribute registry: what the code emits and reads is in it, and nothing else; and it is what Weaver takes. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, test } from 'vitest'
import { SCHEMA_URL } from '../../packages/instrumentation/src/attributes.ts'
import { type FactKind, Name, TABLE } from '../../packages/instrumentation/src/facts.ts'
import { VERSION } from '../../packages/instrumentation/src/version.ts'
import { type Group, namesOf, REGISTRY, readRegistry, typeOf } from '../../scripts/conventions.ts'
import { root, run, sourceFiles } from '../../scripts/workspace.ts'

const registry = await readRegistry()
const { attributes, groups } = registry

/** Forms of `facts.ts`, and the type that their values have. */
const TYPES: Readonly<Record<string, string>> = {
  texts: 'string[]',
  identities: 'string[]',
  count: 'int',
  flag: 'boolean',
}
const typeOfForm = (form: string): string => TYPES[form] ?? 'string'

const rows = (Object.keys(TABLE) as FactKind[]).flatMap((kind) =>
  Object.entries(TABLE[kind] as Readonly<Record<string, readonly [string, string]>>).map(
    ([field, [name, form]]) => ({ kind, field, name, form }),
  ),
)
const emitted = new Set<string>([...rows.map(({ name }) => name), ...Object.values(Name)])

/** What to add to the registry for an attribute that is not in it. */
function entry(name: string, type: string): string {
  const group = groups.findLast(({ id, attributes = [] }) =>
    attributes.some((one) => 'id' in one && id.startsWith('registry.') && one.id.startsWith(prefixOf(name))),
  )
  const [file] = [...registry.files].find(([, { groups }]) => groups.includes(group!)) ?? [
    'a file of its own',
  ]
  const examples = type.startsWith('string') ? '\n        examples: [...]' : ''
  return `${name} is not in the registry. Add to ${REGISTRY}/${file}${group === undefined ? '' : `, under ${group.id}`}:

      - id: ${name}
        type: ${type}
        stability: development
        brief: ...${examples}

and run npm run generate.`
}

function prefixOf(name: string): string {
  return name.split('.').slice(0, 2).join('.')
}

describe('what the instrumentation emits', () => {
  test('is in the registry, with its type', () => {
    const wrong = rows.flatMap(({ name, form }) => {
      const type = typeOfForm(form)
      const known = attributes.get(name)
      if (known === undefined) return [entry(name, type)]
      return typeOf(known) === type
        ? []
        : [`${name} is ${typeOf(known)} in the registry and ${type} in facts.ts`]
    })
    const more = Object.values(Name).filter((name) => !attributes.has(name))
    expect([...wrong, ...more.map((name) => entry(name, 'string'))].join('\n\n')).toBe('')
  })

  test.each(rows.map((row) => [row.kind, row.field, row.name] as const))(
    '%s.%s is an attribute of its event or group',
    (kind, _, name) => {
      expect(namesOf(registry, groupOf(kind)), `add "- ref: ${name}" to the event of ${kind}`).toContain(name)
    },
  )

  test('is all that is in the registry, but for what is marked', () => {
    for (const { id, annotations } of attributes.values()) {
      const isEmitted = annotations?.rootspan?.emitted !== false
      expect(
        emitted.has(id),
        `${id}: emit it, remove it, or annotate it with rootspan: { emitted: false }`,
      ).toBe(isEmitted)
    }
  })

  test('has one form for each name', () => {
    for (const { name, form } of rows)
      for (const other of rows.filter((one) => one.name === name)) expect(other.form, name).toBe(form)
  })
})

test('every name in the namespace that the source spells out is in the registry', async () => {
  const known = new Set([
    ...attributes.keys(),
    ...groups.flatMap(({ id, name }) => [name, id.replace(/^\w+\./, '')]),
  ])
  const found: string[] = []
  let count = 0
  for (const [path, text] of await sourceFiles()) {
    if (!/^packages\/[^/]+\/src\//.test(path) || path.endsWith('.test.ts')) continue
    for (const [, name] of text.matchAll(/['"`](governance\.\w+(?:\.\w+)*)['"`]/g)) {
      count++
      if (!known.has(name)) found.push(`${path}: ${entry(name!, 'string')}`)
    }
  }
  expect(count).toBeGreaterThan(attributes.size)
  expect(found.join('\n')).toBe('')
})

test('names follow the conventions, and references lead somewhere', () => {
  for (const name of attributes.keys()) expect(name).toMatch(/^governance(?:\.[a-z][a-z0-9_]*)+$/)
  for (const group of groups)
    for (const name of namesOf(registry, group)) expect([...attributes.keys()]).toContain(name)
  // A name that is also the prefix of another cannot be an object's key (OpenTelemetry, "Attribute Naming").
  for (const a of attributes.keys())
    expect([...attributes.keys()].filter((b) => b.startsWith(`${a}.`))).toEqual([])
})

test('the schema URL carries the version', () => {
  expect(SCHEMA_URL).toBe(registry.schemaUrl)
  expect(SCHEMA_URL.endsWith(`/${VERSION}`)).toBe(true)
})

describe('Weaver', () => {
  test('has a schema that every file keeps to', async () => {
    const schema = JSON.parse(await readFile(join(root, 'test/vectors/weaver/semconv.schema.json'), 'utf8'))
    const validate = new Ajv2020({ strict: false, allErrors: true }).compile(schema)
    expect(registry.files.size).toBeGreaterThan(5)
    for (const [name, file] of registry.files) {
      validate(file)
      expect(validate.errors ?? [], name).toEqual([])
    }
    const [first] = registry.files.values()
    expect(validate({ groups: [{ ...first!.groups[0], type: 'fact' }] })).toBe(false)
    expect(validate({ groups: [{ ...first!.groups[0], attributes: [{ id: 'a.b', type: 'text' }] }] })).toBe(
      false,
    )
  })

  test('takes the registry', async (context) => {
    const outcome = await run('weaver', ['registry', 'check', '-r', REGISTRY]).catch(() => undefined)
    if (outcome === undefined) {
      console.warn(
        'SKIPPED: the registry is not checked with Weaver, which no package registry has. Put the command `weaver` of https://github.com/open-telemetry/weaver into the PATH.',
      )
      context.skip()
      return
    }
    expect(outcome.code, outcome.output).toBe(0)
  })
})

/** Where the attributes of a kind of fact are: in the event, where it has one. */
function groupOf(kind: FactKind): Group {
  const event = groups.find(({ type, name }) => type === 'event' && name === `governance.${kind}`)
  return event ?? groups.find(({ id }) => id === `registry.governance.${kind}`)!
}
