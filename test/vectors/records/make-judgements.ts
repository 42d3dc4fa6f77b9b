/**
 * Writes the vectors of judgements and of the contexts that they know, with nothing of this project:
 *
 *     node test/vectors/records/make-judgements.ts
 */
import { field, fixed64, hex, number, sha, text, write } from './wire.ts'

const RESULTS = ['pass', 'fail', 'unknown']
const SEVERITIES = ['critical', 'high', 'medium', 'low']
const leaf = (byte: string): string => byte.repeat(32)

// ---- judgements

interface Result {
  readonly rule: string
  readonly result: string
  readonly missing: readonly string[]
}
interface Finding {
  readonly rule: string
  readonly severity: string
  readonly detail: string
  readonly subjects: readonly string[]
}

const resultOf = ({ rule, result, missing }: Result): string =>
  field(1, text(1, rule) + number(2, RESULTS.indexOf(result) + 1) + missing.map((one) => text(3, one)).join(''))
const findingOf = ({ rule, severity, detail, subjects }: Finding): string =>
  field(2, text(1, rule) + number(2, SEVERITIES.indexOf(severity) + 1) + text(3, detail) + subjects.map((one) => field(4, one)).join(''))
const result = (rule: string, of: string, ...missing: string[]): Result => ({ rule, result: of, missing })
const finding = (rule: string, severity: string, detail: string, ...subjects: string[]): Finding => ({ rule, severity, detail, subjects })

const PASS = result('GC-A01', 'pass')
const FAIL = result('GC-D02', 'fail')
const FOUND = finding('GC-D02', 'critical', 'an action went on though it was denied', leaf('01'))
const NOTE = finding('GC-D03', 'low', 'a note', leaf('02'))
const judgements: [string, Result[], Finding[], string][] = [
  ['of an execution that is not judged', [], [], 'unknown'],
  ['all passed', [PASS, result('GC-N01', 'pass')], [], 'intact'],
  ['one is unknown', [PASS, result('GC-N01', 'unknown', 'the end of a span')], [], 'unknown'],
  ['one passed, and something is missing', [result('GC-A01', 'pass', 'a key', 'größe')], [], 'unknown'],
  ['one failed', [PASS, FAIL], [FOUND], 'broken'],
  ['one failed, and something is missing', [result('GC-D02', 'fail', 'a policy')], [FOUND], 'broken'],
  ['only a note', [result('GC-D03', 'fail')], [NOTE], 'intact'],
  ['a note, and one unknown', [result('GC-D03', 'fail'), result('GC-N01', 'unknown')], [NOTE], 'unknown'],
  [
    'every severity, and up to 8 subjects',
    SEVERITIES.map((_, at) => result(`GC-X0${at}`, 'fail')),
    SEVERITIES.map((severity, at) => finding(`GC-X0${at}`, severity, '', ...Array.from({ length: at * 2 + 2 }, (_, of) => leaf(`0${of + 1}`)))),
    'broken',
  ],
]
const good = resultOf(PASS) + findingOf(FOUND)

// ---- contexts

type Value = string | bigint | { readonly bytes: string }
const bytes = (value: string): Value => ({ bytes: value })
const statement = (sort: number, values: readonly Value[]): string => field(sort, values.map((value, at) => part(at + 1, value)).join(''))
const part = (at: number, value: Value): string =>
  typeof value === 'bigint' ? fixed64(at, BigInt.asUintN(64, value)) : typeof value === 'string' ? text(at, value) : field(at, value.bytes)

const LEAF = bytes(leaf('0a'))
const TRACE = bytes('0102030405060708090a0b0c0d0e0f10')
const SPAN = bytes('1112131415161718')
const TIME = 1_767_323_045_000_000_000n
/** The fields of a statement of each sort, and one with each. */
const SORTS: readonly [string, readonly [string, Value][]][] = [
  ['revocations', [['by', 'fingerprint'], ['issuer', 'https://idp.example'], ['value', 'ab'], ['at', TIME], ['leaf', LEAF], ['traceId', TRACE]]],
  ['uses', [['by', 'transaction'], ['value', 't-1'], ['leaf', LEAF], ['traceId', TRACE]]],
  ['policies', [['engine', 'opa'], ['policy', 'refunds'], ['version', '3'], ['digest', ''], ['service', 'größe'], ['since', TIME], ['leaf', LEAF], ['traceId', TRACE]]],
  ['neighbours', [['emitter', 'e'], ['seq', 4n], ['prev', ''], ['spanId', SPAN], ['leaf', LEAF], ['traceId', TRACE]]],
  ['gaps', [['emitter', 'e'], ['from', 2n], ['to', 3n], ['noticedAt', TIME]]],
  ['skews', [['caller', 'a'], ['callee', 'b'], ['offset', -5n]]],
]
const values = (sort: number): Value[] => SORTS[sort - 1]![1].map(([, value]) => value)
const whole = (sort: number): string => statement(sort, values(sort))
const shown = (sort: number): Record<string, string> =>
  Object.fromEntries(SORTS[sort - 1]![1].map(([name, value]) => [name, typeof value === 'object' ? value.bytes : String(value)]))
const contextCase = (name: string, sorts: readonly number[]) => {
  const context = sorts.map(whole).join('')
  const statements = Object.fromEntries(SORTS.map(([of], at) => [of, sorts.filter((sort) => sort === at + 1).map(shown)]))
  return { name, context, digest: digest('judgement-context', context), ...statements }
}

function digest(tag: string, encoded: string): string {
  return hex(sha(`rootspan/${tag}/v0\n`, Buffer.from(encoded, 'hex')))
}

write('judgements', {
  valid: judgements.map(([name, results, findings, continuity]) => {
    const judgement = [...results.map(resultOf), ...findings.map(findingOf)].join('')
    return { name, judgement, digest: digest('judgement', judgement), continuity, results, findings }
  }),
  invalid: [
    ['rules out of order', field(1, text(1, 'GC-A02') + number(2, 1)) + field(1, text(1, 'GC-A01') + number(2, 1)), 'a judgement is out of order'],
    ['a rule twice', field(1, text(1, 'GC-A01') + number(2, 1)).repeat(2), 'a judgement is out of order'],
    ['findings out of order', ['GC-D02', 'GC-D01'].map((rule) => field(2, text(1, rule) + number(2, 1) + text(3, '') + field(4, leaf('01')))).join(''), 'a judgement is out of order'],
    ['what is missing out of order', field(1, text(1, 'GC-A01') + number(2, 3) + text(3, 'b') + text(3, 'a')), 'a judgement is out of order'],
    ['what is missing twice', field(1, text(1, 'GC-A01') + number(2, 3) + text(3, 'a') + text(3, 'a')), 'a judgement is out of order'],
    ['17 missing', field(1, text(1, 'GC-A01') + number(2, 3) + Array.from('abcdefghijklmnopq', (one) => text(3, one)).join('')), 'a judgement is out of order'],
    ['an unknown part', good + field(3, ''), 'a judgement has an unknown field'],
    ['a part that is a number', good + number(2, 1), 'a part of a judgement has the wrong wire type'],
    ['a result after a finding', findingOf(FOUND) + resultOf(PASS), 'a judgement is not in canonical form'],
    ['a result of nothing', field(1, text(1, 'GC-A01')), 'a result is none that is known'],
    ['result 0', field(1, text(1, 'GC-A01') + number(2, 0)), 'a result is none that is known'],
    ['result 4', field(1, text(1, 'GC-A01') + number(2, 4)), 'a result is none that is known'],
    ['a result of no rule', field(1, number(2, 1)), 'a judgement is not in canonical form'],
    ['a result before its rule', field(1, number(2, 1) + text(1, 'GC-A01')), 'a judgement is not in canonical form'],
    ['a rule twice in a result', field(1, text(1, 'GC-A01') + text(1, 'GC-A01') + number(2, 1)), 'a judgement is not in canonical form'],
    ['a result with a longer varint', field(1, `${text(1, 'GC-A01')}108100`), 'a judgement is not in canonical form'],
    ['a result with a text as its number', field(1, text(1, 'GC-A01') + text(2, 'x')), 'a number has the wrong wire type'],
    ['a result with an unknown field', field(1, text(1, 'GC-A01') + number(2, 1) + number(4, 1)), 'a result has an unknown field'],
    ['what is missing is no UTF-8', field(1, text(1, 'GC-A01') + number(2, 3) + field(3, 'ff')), 'a text is not UTF-8'],
    ['severity 0', good + field(2, text(1, 'GC-D02') + number(2, 0) + text(3, '') + field(4, leaf('01'))), 'a finding is incomplete'],
    ['severity 5', good + field(2, text(1, 'GC-D02') + number(2, 5) + text(3, '') + field(4, leaf('01'))), 'a finding is incomplete'],
    ['a finding of nothing', field(2, text(1, 'GC-D02') + number(2, 1) + text(3, '')), 'a finding is incomplete'],
    ['a finding without its detail', field(2, text(1, 'GC-D02') + number(2, 1) + field(4, leaf('01'))), 'a judgement is not in canonical form'],
    ['a subject of 31 bytes', field(2, text(1, 'GC-D02') + number(2, 1) + text(3, '') + field(4, leaf('01').slice(2))), 'a finding has an unknown field'],
    ['a finding with an unknown field', field(2, text(1, 'GC-D02') + number(2, 1) + text(3, '') + field(4, leaf('01')) + number(5, 1)), 'a finding has an unknown field'],
    ['cut off', good.slice(0, -2), 'a length runs past the end of its message'],
    ['a byte too many', `${good}00`, 'a field has number 0'],
  ].map(([name, judgement, reason]) => ({ name, reason, judgement })),
})

write('contexts', {
  valid: [
    contextCase('that says nothing', []),
    ...SORTS.map(([name], at) => contextCase(`one of ${name}`, [at + 1])),
    contextCase('one of each', [1, 2, 3, 4, 5, 6]),
    contextCase('two of one sort', [2, 2, 5]),
    contextCase('128 of one sort', Array.from({ length: 128 }, () => 6)),
  ],
  invalid: [
    ['sort 7', whole(6) + field(7, ''), 'a context has an unknown field'],
    ['a statement that is a number', number(1, 1), 'a statement has the wrong wire type'],
    ['129 of one sort', whole(6).repeat(129), 'a context has too many statements'],
    ['sorts out of order', whole(2) + whole(1), 'a context is not in canonical form'],
    ['those of one sort apart', whole(2) + whole(5) + whole(2), 'a context is not in canonical form'],
    ...SORTS.flatMap(([name], at) => [
      [`${name} without the first field`, field(at + 1, values(at + 1).map((value, of) => (of === 0 ? '' : part(of + 1, value))).join('')), 'a statement is incomplete'],
      [`${name} without the last field`, statement(at + 1, values(at + 1).slice(0, -1)), 'a statement is incomplete'],
      [`${name} with a field too many`, statement(at + 1, [...values(at + 1), 'x']), 'a statement has an unknown field'],
    ]),
    ['a field twice', field(2, part(1, 'transaction') + values(2).map((value, of) => part(of + 1, value)).join('')), 'a context is not in canonical form'],
    ['fields out of order', field(2, part(2, 't-1') + part(1, 'transaction') + part(3, LEAF) + part(4, TRACE)), 'a context is not in canonical form'],
    ['a time as a varint', field(6, part(1, 'a') + part(2, 'b') + number(3, 5)), 'a field of a statement has the wrong wire type'],
    ['a text as a time', field(6, fixed64(1, 1n) + part(2, 'b') + part(3, 5n)), 'a field of a statement has the wrong wire type'],
    ['a leaf of 31 bytes', statement(2, ['transaction', 't-1', bytes(leaf('0a').slice(2)), TRACE]), 'a field of a statement has the wrong size'],
    ['a trace id of 15 bytes', statement(2, ['transaction', 't-1', LEAF, bytes('01'.repeat(15))]), 'a field of a statement has the wrong size'],
    ['a span id of 9 bytes', statement(4, ['e', 4n, '', bytes('01'.repeat(9)), LEAF, TRACE]), 'a field of a statement has the wrong size'],
    ['a text that is no UTF-8', statement(6, [bytes('c3'), 'b', 5n]), 'a text is not UTF-8'],
    ['a length longer than it has to be', whole(6).replace(/^32(..)/, (_, size) => `32${(Number.parseInt(size, 16) | 0x80).toString(16)}00`), 'a context is not in canonical form'],
    ['cut off', whole(1).slice(0, -2), 'a length runs past the end of its message'],
  ].map(([name, context, reason]) => ({ name, reason, context })),
})
