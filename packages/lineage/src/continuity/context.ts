/**
 * The context: what contextual rules know of other executions (docs/formats/judgement.md, "Context").
 *
 * The collector gathers it, the payload holds it, the seal has its digest, and whoever verifies judges with it again. It
 * says only what makes a difference to this execution; what is absent from it was not checked. A statement names the record
 * that it was read from, whose testimony (testimony.ts) a bundle brings; gaps and skews, which no one record shows, are the
 * collector's own word.
 */
import { sha256 } from '#crypto'
import { concatBytes, equalBytes, parseUtf8, utf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { NO_BYTES } from '../record/entry.ts'
import { BYTES, FIXED64, WireReader, WireWriter } from '../wire.ts'
import type { Subject } from './rule.ts'

/** A record of another execution, or of an earlier segment of this one: its leaf hash and 16-byte trace id. */
export interface FromRecord extends Subject {
  readonly traceId: Uint8Array
}

/** An artifact that is presented here was revoked. */
export interface Revocation extends FromRecord {
  /** What `value` is: `fingerprint`, `id`, `subject` or `transaction`. */
  readonly by: string
  /** Empty where it was not said. */
  readonly issuer: string
  readonly value: string
  /** Since when: nanoseconds since 1970. */
  readonly at: bigint
}

/** A one-time artifact that is used here was used in another execution. */
export interface Use extends FromRecord {
  /** What `value` is: `transaction` or `approval`. */
  readonly by: string
  readonly value: string
}

/** A version of a policy that decides here, as another execution has it. */
export interface PolicyVersion extends FromRecord {
  readonly engine: string
  readonly policy: string
  /** Empty where it was not said; one of both is. */
  readonly version: string
  readonly digest: string
  /** Service whose engine decided. */
  readonly service: string
  /** When it decided: the first time that the collector saw at that service. Nanoseconds since 1970. */
  readonly since: bigint
}

/** A span of the same process that one link stands for together with one of this execution. */
export interface Neighbour extends FromRecord {
  readonly emitter: string
  readonly seq: bigint
  /** Empty where it has no link. */
  readonly prev: string
  /** 8 bytes. */
  readonly spanId: Uint8Array
}

/** Numbers of a process that spans of this execution have on both sides, and that had not come. */
export interface Gap {
  readonly emitter: string
  /** Both inclusive. */
  readonly from: bigint
  readonly to: bigint
  /** When a higher number had come first: nanoseconds since 1970. */
  readonly noticedAt: bigint
}

/** How far the clock of one service is ahead of another's, as learned from several requests of one to the other. */
export interface Skew {
  readonly caller: string
  readonly callee: string
  /** Nanoseconds; negative where the callee's clock is behind. */
  readonly offset: bigint
}

export interface Context {
  readonly revocations: readonly Revocation[]
  readonly uses: readonly Use[]
  readonly policies: readonly PolicyVersion[]
  readonly neighbours: readonly Neighbour[]
  readonly gaps: readonly Gap[]
  readonly skews: readonly Skew[]
}

export const EMPTY_CONTEXT: Context = {
  revocations: [],
  uses: [],
  policies: [],
  neighbours: [],
  gaps: [],
  skews: [],
}

/** Statements that a context holds of each sort at most. */
export const MAX_STATEMENTS = 128

type Field = 'text' | 'time' | 'leaf' | 'trace' | 'span'
type Shape = Readonly<Record<string, Field>>

/** The sorts of statements by their field numbers from 1 on, and the fields of each, likewise. */
const SORTS: readonly (readonly [keyof Context, Shape])[] = [
  ['revocations', { by: 'text', issuer: 'text', value: 'text', at: 'time', leaf: 'leaf', traceId: 'trace' }],
  ['uses', { by: 'text', value: 'text', leaf: 'leaf', traceId: 'trace' }],
  [
    'policies',
    {
      engine: 'text',
      policy: 'text',
      version: 'text',
      digest: 'text',
      service: 'text',
      since: 'time',
      leaf: 'leaf',
      traceId: 'trace',
    },
  ],
  [
    'neighbours',
    { emitter: 'text', seq: 'time', prev: 'text', spanId: 'span', leaf: 'leaf', traceId: 'trace' },
  ],
  ['gaps', { emitter: 'text', from: 'time', to: 'time', noticedAt: 'time' }],
  ['skews', { caller: 'text', callee: 'text', offset: 'time' }],
]

const SIZES: Readonly<Partial<Record<Field, number>>> = { leaf: 32, trace: 16, span: 8 }

type Statement = Readonly<Record<string, string | bigint | Uint8Array>>

/** Empty for a context that says nothing. Every field of a statement is written, whatever its value. */
export function encodeContext(context: Context): Uint8Array {
  if (context === EMPTY_CONTEXT) return NO_BYTES
  const out = new WireWriter()
  for (const [at, [sort, shape]] of SORTS.entries())
    for (const statement of context[sort]) {
      const one = new WireWriter()
      for (const [number, name] of Object.keys(shape).entries()) {
        const value = (statement as unknown as Statement)[name]!
        if (typeof value === 'bigint') one.fixed64(number + 1, value)
        else if (typeof value === 'string') one.string(number + 1, value)
        else one.bytes(number + 1, value)
      }
      out.bytes(at + 1, one.finish())
    }
  return out.finish()
}

/** Throws a MalformedError for anything but the encoding of a context. */
export function parseContext(bytes: Uint8Array): Context {
  if (bytes.length === 0) return EMPTY_CONTEXT
  const sorts = SORTS.map((): Statement[] => [])
  const reader = new WireReader(bytes)
  while (reader.next()) {
    reader.expect(BYTES, 'a statement')
    const sort = SORTS[reader.field - 1]
    if (sort === undefined) throw new MalformedError('a context has an unknown field')
    const statements = sorts[reader.field - 1]!
    if (statements.length === MAX_STATEMENTS) throw new MalformedError('a context has too many statements')
    statements.push(parseStatement(new WireReader(bytes, reader.start, reader.end), sort[1]))
  }
  const context = Object.fromEntries(SORTS.map(([sort], at) => [sort, sorts[at]])) as unknown as Context
  if (!equalBytes(encodeContext(context), bytes))
    throw new MalformedError('a context is not in canonical form')
  return context
}

function parseStatement(reader: WireReader, shape: Shape): Statement {
  const statement: Record<string, string | bigint | Uint8Array> = {}
  const fields = Object.entries(shape)
  while (reader.next()) {
    const [name, type] = fields[reader.field - 1] ?? ['', undefined]
    if (type === undefined) throw new MalformedError('a statement has an unknown field')
    reader.expect(type === 'time' ? FIXED64 : BYTES, 'a field of a statement')
    if (type === 'time') statement[name] = reader.int64()
    else if (type === 'text') statement[name] = parseUtf8(reader.value(), 'a text')
    else if (reader.end - reader.start === SIZES[type]) statement[name] = reader.value().slice()
    else throw new MalformedError('a field of a statement has the wrong size')
  }
  if (Object.keys(statement).length !== fields.length) throw new MalformedError('a statement is incomplete')
  return statement
}

const TAG = utf8('rootspan/judgement-context/v0\n')

/** SHA-256(tag, context): what the seal holds of it. */
export function contextDigest(context: Uint8Array): Uint8Array {
  if (context.length > 0) return sha256(concatBytes(TAG, context))
  emptyDigest ??= sha256(TAG)
  return emptyDigest
}

/** Most executions have no context. Not to be changed. */
let emptyDigest: Uint8Array | undefined
