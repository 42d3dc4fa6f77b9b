/** Writes the vectors that nobody else publishes, from `node:crypto` and strings alone. */
import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto'
import { writeFileSync } from 'node:fs'

type Bytes = Buffer

const sha256 = (...parts: readonly (Bytes | string | number[])[]): Bytes => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(Array.isArray(part) ? Buffer.from(part) : part)
  return hash.digest()
}
const b64 = (bytes: Bytes | string): string => Buffer.from(bytes).toString('base64')

function makeKey(name: string, fill: number, type = 1) {
  const seed = Buffer.alloc(32, fill)
  const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
  const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-32)
  const typed = Buffer.concat([Buffer.from([type]), publicKey])
  const id = sha256(name, '\n', typed).subarray(0, 4)
  return {
    name,
    id,
    typed,
    vkey: `${name}+${id.toString('hex')}+${b64(typed)}`,
    skey: `PRIVATE+KEY+${name}+${id.toString('hex')}+${b64(Buffer.concat([Buffer.from([1]), seed]))}`,
    line: (text: string | Bytes) =>
      `— ${name} ${b64(Buffer.concat([id, sign(null, Buffer.from(text), privateKey)]))}\n`,
  }
}

const log = makeKey('example.com/log', 1)
const rotated = makeKey('example.com/log', 2)
const other = makeKey('example.com/other', 3)
const witness = makeKey('witness.example', 4, 4)
const witnesses = Array.from({ length: 32 }, (_, i) => makeKey(`w${i}.example`, 32 + i, 4))
const logs = Array.from({ length: 32 }, (_, i) => makeKey(`l${i}.example`, 64 + i))
const mldsaTyped = Buffer.concat([Buffer.from([6]), Buffer.alloc(1312, 5)])
const mldsaId = sha256('example.com/log', '\n', mldsaTyped).subarray(0, 4)
const mldsa = {
  vkey: `example.com/log+${mldsaId.toString('hex')}+${b64(mldsaTyped)}`,
  line: `— example.com/log ${b64(Buffer.concat([mldsaId, Buffer.alloc(8 + 2420, 6)]))}\n`,
}
const shuffled = (line: string) => line.replace(/.{4}=*\n$/, (end) => (end.startsWith('AAAA') ? 'BBBB' : 'AAAA') + end.slice(4))

// Keys ----------------------------------------------------------------------------------------------------
const example = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k'
const [exampleName, exampleId, exampleKey] = example.split('+') as [string, string, string]
const short = Buffer.concat([Buffer.from([1]), Buffer.alloc(31)])
const unknownType = Buffer.concat([Buffer.from([0x7f]), Buffer.alloc(32)])
const keyOf = (name: string, typed: Bytes) => `${name}+${sha256(name, '\n', typed).subarray(0, 4).toString('hex')}+${b64(typed)}`
const typedExample = Buffer.from(exampleKey, 'base64')
write('keys', {
  valid: [
    { name: 'the example of signed-note', vkey: example, keyName: exampleName, keyIdHex: exampleId, type: 1 },
    { name: 'a cosigner', vkey: witness.vkey, keyName: 'witness.example', keyIdHex: witness.id.toString('hex'), type: 4 },
    { name: 'ML-DSA-44', vkey: mldsa.vkey, keyName: 'example.com/log', keyIdHex: mldsaId.toString('hex'), type: 6 },
    { name: 'a name beyond ASCII', vkey: keyOf('例え.example/ログ', typedExample), keyName: '例え.example/ログ', keyIdHex: sha256('例え.example/ログ', '\n', typedExample).toString('hex', 0, 4), type: 1 },
  ],
  invalid: [
    { name: 'empty', vkey: '' },
    { name: 'the id of another name', vkey: example.replace('foo', 'fop') },
    { name: 'an id in upper case', vkey: example.replace('530d903a', '530D903A') },
    { name: 'an id of seven digits', vkey: example.replace('530d903a', '530d903') },
    { name: 'no name', vkey: keyOf('', typedExample) },
    { name: 'a name with a space', vkey: keyOf('example.com foo', typedExample) },
    { name: 'a name with a no-break space', vkey: keyOf('example.com\u00a0foo', typedExample) },
    { name: 'a name with a next-line character', vkey: keyOf('example.com\u0085foo', typedExample) },
    { name: 'a name with a newline', vkey: keyOf('example.com\nfoo', typedExample) },
    { name: 'a name with a plus', vkey: keyOf('example.com+foo', typedExample) },
    { name: 'no padding', vkey: keyOf('example.com/foo', mldsaTyped).replace(/=+$/, '') },
    { name: 'a space at the end', vkey: `${example} ` },
    { name: 'a newline at the end', vkey: `${example}\n` },
    { name: 'a fourth part', vkey: `${example}+AA==` },
    { name: 'no key', vkey: keyOf('example.com/foo', Buffer.alloc(0)) },
    { name: 'a type alone', vkey: keyOf('example.com/foo', Buffer.from([1])) },
    { name: 'a short key', vkey: keyOf('example.com/foo', short) },
    { name: 'a long key', vkey: keyOf('example.com/foo', Buffer.concat([typedExample, Buffer.alloc(1)])) },
    { name: 'an unknown type', vkey: keyOf('example.com/foo', unknownType) },
    { name: 'a private key', vkey: log.skey },
  ],
  private: [{ name: 'a seed of 32 bytes 01', skey: log.skey, vkey: log.vkey }],
})

// Notes ---------------------------------------------------------------------------------------------------
const specText = 'This is an example message.\n'
const specLine = '— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n'
const text = 'a note\n\nwith an empty line, — and what looks like a signature\n— example.com/log AAAA\n'
const unknownLine = `— example.com/log ${b64(Buffer.alloc(68, 9))}\n`
const long = Array.from({ length: 99 }, (_, i) => `— u${i}.example ${b64(Buffer.alloc(68, 9))}\n`).join('')
const trailingBits = log.line(text).replace(/(.)=\n$/, (_, last) => `${String.fromCharCode(last.charCodeAt(0) + 1)}=\n`)
type NoteCase = { name: string; note: string | Bytes; vkeys?: string[]; result: string; go?: string; text?: string; verified?: number; unverified?: number }
const notes: NoteCase[] = [
  { name: 'the example of signed-note', note: `${specText}\n${specLine}`, vkeys: [example], result: 'ok', text: specText, verified: 1, unverified: 0 },
  { name: 'empty lines in the text', note: `${text}\n${log.line(text)}`, result: 'ok', text, verified: 1, unverified: 0 },
  { name: 'a text that is one newline', note: `\n\n${log.line('\n')}`, result: 'ok', text: '\n', verified: 1, unverified: 0 },
  { name: 'text beyond ASCII', note: `è subito sera 🌇\n\n${log.line('è subito sera 🌇\n')}`, result: 'ok', text: 'è subito sera 🌇\n', verified: 1, unverified: 0 },
  { name: 'a byte order mark is text', note: `\ufeffx\n\n${log.line('\ufeffx\n')}`, result: 'ok', text: '\ufeffx\n', verified: 1, unverified: 0 },
  { name: 'an unknown key beside a known one', note: `${text}\n${other.line(text)}${log.line(text)}`, result: 'ok', text, verified: 1, unverified: 1 },
  { name: 'an unknown key with a known name', note: `${text}\n${unknownLine}${log.line(text)}`, result: 'ok', text, verified: 1, unverified: 1 },
  { name: 'an unknown name with a known id', note: `${text}\n${shuffled(log.line(text)).replace('/log', '/gol')}${log.line(text)}`, result: 'ok', text, verified: 1, unverified: 1 },
  { name: 'two known keys', note: `${text}\n${rotated.line(text)}${log.line(text)}`, vkeys: [log.vkey, rotated.vkey], result: 'ok', text, verified: 2, unverified: 0 },
  { name: 'one line twice', note: `${text}\n${log.line(text)}${log.line(text)}`, result: 'ok', text, verified: 1, unverified: 0 },
  { name: 'one unknown line twice', note: `${text}\n${log.line(text)}${unknownLine}${unknownLine}`, result: 'ok', text, verified: 1, unverified: 1 },
  { name: 'a hundred signatures', note: `${text}\n${long}${log.line(text)}`, result: 'ok', text, verified: 1, unverified: 99 },
  { name: 'a hundred and one signatures', note: `${text}\n${long}${log.line(text)}${unknownLine}`, result: 'malformed' },
  { name: 'only an unknown key', note: `${text}\n${other.line(text)}`, result: 'untrusted' },
  { name: 'a wrong signature', note: `${text}\n${shuffled(log.line(text))}`, result: 'signature' },
  { name: 'a wrong signature by one of two keys', note: `${text}\n${log.line(text)}${shuffled(rotated.line(text))}`, vkeys: [log.vkey, rotated.vkey], result: 'signature' },
  { name: 'a wrong signature after a good one by the same key', note: `${text}\n${log.line(text)}${shuffled(log.line(text))}`, result: 'signature', go: 'ok' },
  { name: 'a signature over the text and the blank line', note: `${text}\n${log.line(`${text}\n`)}`, result: 'signature' },
  { name: 'a signature over the text without its newline', note: `${text}\n${log.line(text.slice(0, -1))}`, result: 'signature' },
  { name: 'a short signature by a known key', note: `${text}\n— example.com/log ${b64(Buffer.concat([log.id, Buffer.alloc(1)]))}\n`, result: 'signature' },
  { name: 'a known key of four bytes alone', note: `${text}\n— example.com/log ${b64(log.id)}\n`, result: 'malformed' },
  { name: 'empty', note: '', result: 'malformed' },
  { name: 'only text', note: text.replace('\n\n', '\n'), result: 'malformed' },
  { name: 'no signature', note: `${text}\n`, result: 'malformed' },
  { name: 'no blank line', note: `a note\n${log.line('a note\n')}`, result: 'malformed' },
  { name: 'no newline at the end', note: `${text}\n${log.line(text)}`.slice(0, -1), result: 'malformed' },
  { name: 'a blank line at the end', note: `${text}\n${log.line(text)}\n`, result: 'malformed' },
  { name: 'a line that is no signature', note: `${text}\n${log.line(text)}x\n`, result: 'malformed' },
  { name: 'a hyphen for the dash', note: `${text}\n${log.line(text).replace('—', '-')}`, result: 'malformed' },
  { name: 'no space after the dash', note: `${text}\n${log.line(text).replace('— ', '—')}`, result: 'malformed' },
  { name: 'two spaces after the dash', note: `${text}\n${log.line(text).replace('— ', '—  ')}`, result: 'malformed' },
  { name: 'two spaces before the signature', note: `${text}\n${log.line(text).replace('log ', 'log  ')}`, result: 'malformed' },
  { name: 'a space at the end of a line', note: `${text}\n${log.line(text).replace('\n', ' \n')}`, result: 'malformed' },
  { name: 'no name', note: `${text}\n${log.line(text).replace('example.com/log ', '')}`, result: 'malformed' },
  { name: 'a name with a plus', note: `${text}\n${log.line(text)}${unknownLine.replace('log', 'l+g')}`, result: 'malformed' },
  { name: 'a name with a no-break space', note: `${text}\n${log.line(text)}${unknownLine.replace('log', 'l\u00a0g')}`, result: 'malformed' },
  { name: 'no padding', note: `${text}\n${log.line(text).replace('=', '')}`, result: 'malformed' },
  { name: 'unused bits in the base64', note: `${text}\n${trailingBits}`, result: 'malformed', go: 'ok' },
  { name: 'URL-safe base64', note: `${text}\n${log.line(text)}— u.example ${b64(Buffer.alloc(68, 0xff)).replaceAll('/', '_')}\n`, result: 'malformed' },
  { name: 'CR LF', note: `${text}\n${log.line(text)}`.replaceAll('\n', '\r\n'), result: 'malformed' },
  { name: 'a tab in the text', note: `a\tb\n\n${log.line('a\tb\n')}`, result: 'malformed' },
  { name: 'a NUL in the text', note: `a\0b\n\n${log.line('a\0b\n')}`, result: 'malformed' },
  { name: 'not UTF-8', note: Buffer.concat([Buffer.from([0xff, 0x0a, 0x0a]), Buffer.from(log.line(Buffer.from([0xff, 0x0a])))]), result: 'malformed' },
  { name: 'a surrogate in UTF-8', note: Buffer.concat([Buffer.from([0xed, 0xa0, 0x80, 0x0a, 0x0a]), Buffer.from(log.line(Buffer.from([0xed, 0xa0, 0x80, 0x0a])))]), result: 'malformed' },
]
write('notes', notes.map(({ note, text, ...rest }) => ({ vkeys: [log.vkey], ...rest, note: b64(note), ...(text === undefined ? {} : { text: b64(text) }) })))

// The tree of `ranges` and `tlog-proofs` --------------------------------------------------------------------
const entries = Array.from({ length: 13 }, (_, i) => `entry ${i}`)
const leaves = entries.map((entry) => sha256([0], entry))
const split = (n: number): number => (n <= 2 ? 1 : 2 * split(Math.ceil(n / 2)))
const mth = (hashes: readonly Bytes[]): Bytes =>
  hashes.length === 0 ? sha256('') : hashes.length === 1 ? hashes[0]!
  : sha256([1], mth(hashes.slice(0, split(hashes.length))), mth(hashes.slice(split(hashes.length))))
const auditPath = (index: number, hashes: readonly Bytes[]): Bytes[] => {
  if (hashes.length === 1) return []
  const k = split(hashes.length)
  return index < k ? [...auditPath(index, hashes.slice(0, k)), mth(hashes.slice(k))] : [...auditPath(index - k, hashes.slice(k)), mth(hashes.slice(0, k))]
}

// Checkpoints -----------------------------------------------------------------------------------------------
const root = b64(mth(leaves))
const emptyRoot = b64(sha256(''))
const body = `example.com/log\n13\n${root}\n`
const policy = `log ${log.vkey}\nquorum none\n`
const signed = (text: string, ...lines: string[]) => `${text}\n${(lines.length > 0 ? lines : [log.line(text)]).join('')}`
type Case = { name: string; checkpoint: string; policy?: string; result: string; origin?: string; size?: number; root?: string; extensions?: string[]; unverified?: number }
const read = { origin: 'example.com/log', size: 13, root, extensions: [] as string[], unverified: 0 }
const sized = (size: string) => body.replace('13', size)
const origin = 'sum of all, including spaces + a plus'
const odd = makeKey('odd.example', 7)
const checkpoints: Case[] = [
  { name: 'a log of 13 leaves', checkpoint: signed(body), result: 'ok', ...read },
  { name: 'an empty log', checkpoint: signed(`example.com/log\n0\n${emptyRoot}\n`), result: 'ok', ...read, size: 0, root: emptyRoot },
  { name: 'the largest size', checkpoint: signed(sized('9007199254740991')), result: 'ok', ...read, size: 9007199254740991 },
  { name: 'extension lines', checkpoint: signed(`${body}one\n— two\n`), result: 'ok', ...read, extensions: ['one', '— two'] },
  { name: 'a witness that the policy does not have', checkpoint: signed(body, log.line(body), witness.line(body)), result: 'ok', ...read, unverified: 1 },
  { name: 'a witness of the policy, not asked for', checkpoint: signed(body, log.line(body), witness.line(body)), policy: `log ${log.vkey}\nwitness W ${witness.vkey}\nquorum none\n`, result: 'ok', ...read, unverified: 1 },
  { name: 'two keys of one log, both signed', checkpoint: signed(body, log.line(body), rotated.line(body)), policy: `log ${log.vkey}\nlog ${rotated.vkey}\nquorum none\n`, result: 'ok', ...read },
  { name: 'two keys of one log, one signed', checkpoint: signed(body, rotated.line(body)), policy: `log ${log.vkey}\nlog ${rotated.vkey}\nquorum none\n`, result: 'ok', ...read },
  { name: 'Ed25519 beside ML-DSA', checkpoint: signed(body, mldsa.line, log.line(body)), policy: `log ${log.vkey}\nlog ${mldsa.vkey}\nquorum none\n`, result: 'ok', ...read, unverified: 1 },
  { name: 'ML-DSA only', checkpoint: signed(body, mldsa.line), policy: `log ${log.vkey}\nlog ${mldsa.vkey}\nquorum none\n`, result: 'unsupported' },
  { name: 'a quorum', checkpoint: signed(body, log.line(body), witness.line(body)), policy: `log ${log.vkey}\nwitness W ${witness.vkey}\nquorum W\n`, result: 'unsupported' },
  { name: 'a quorum and a wrong signature', checkpoint: signed(body, shuffled(log.line(body))), policy: `log ${log.vkey}\nwitness W ${witness.vkey}\nquorum W\n`, result: 'signature' },
  { name: 'no log in the policy', checkpoint: signed(body), policy: 'quorum none\n', result: 'untrusted' },
  { name: 'a log that the policy does not have', checkpoint: signed(body, other.line(body)), result: 'untrusted' },
  { name: 'another log of the policy signed', checkpoint: signed(body, other.line(body)), policy: `log ${log.vkey}\nlog ${other.vkey}\nquorum none\n`, result: 'untrusted' },
  { name: "another log's origin", checkpoint: signed(body.replace('log', 'other')), policy: `log ${log.vkey}\nlog ${other.vkey}\nquorum none\n`, result: 'untrusted' },
  { name: 'an origin that cannot be the name of a key', checkpoint: signed(`${origin}\n13\n${root}\n`, odd.line(`${origin}\n13\n${root}\n`)), policy: `log ${odd.vkey}\nquorum none\n`, result: 'untrusted' },
  { name: 'a wrong signature', checkpoint: signed(body, shuffled(log.line(body))), result: 'signature' },
  { name: 'one wrong signature of two', checkpoint: signed(body, log.line(body), shuffled(rotated.line(body))), policy: `log ${log.vkey}\nlog ${rotated.vkey}\nquorum none\n`, result: 'signature' },
  { name: 'no root', checkpoint: signed('example.com/log\n13\n'), result: 'malformed' },
  { name: 'no origin', checkpoint: signed(`\n13\n${root}\n`), result: 'malformed' },
  { name: 'an origin of 256 bytes', checkpoint: signed(`${'é'.repeat(128)}\n13\n${root}\n`), result: 'malformed' },
  { name: 'an empty extension line at the end', checkpoint: signed(`${body}\n`), result: 'malformed' },
  { name: 'an empty extension line in between', checkpoint: signed(`${body}\nx\n`), result: 'malformed' },
  ...['', '013', '00', '+13', '-13', '13.0', '1e1', '0x13', ' 13', '13 ', '١٣', '9007199254740992', '18446744073709551615'].map((size) => ({ name: `the size ${JSON.stringify(size)}`, checkpoint: signed(sized(size)), result: 'malformed' })),
  { name: 'the empty tree with another root', checkpoint: signed(sized('0')), result: 'malformed' },
  { name: 'a root of 31 bytes', checkpoint: signed(`example.com/log\n13\n${b64(mth(leaves).subarray(1))}\n`), result: 'malformed' },
  { name: 'a root without padding', checkpoint: signed(body.replace('=', '')), result: 'malformed' },
  { name: 'a root in hex', checkpoint: signed(`example.com/log\n13\n${mth(leaves).toString('hex')}\n`), result: 'malformed' },
]
write('checkpoints', checkpoints.map(({ checkpoint, ...rest }) => ({ policy, ...rest, checkpoint: b64(checkpoint) })))

// Policies --------------------------------------------------------------------------------------------------
const w = (name: string, i: number) => `witness ${name} ${witnesses[i]!.vkey}\n`
const three = `${w('A', 0)}${w('B', 1)}${w('C', 2)}`
const many = [
  ...logs.map((key) => `log ${key.vkey} https://${key.name}/\n`),
  ...witnesses.map((key, i) => `witness W${i} ${key.vkey}\n`),
  ...witnesses.map((_, i) => `group G${i} all W${i}${i === 0 ? '' : ` G${i - 1}`}\n`),
  'quorum G31\n',
].join('')
const counts = (logs: number, witnesses: number, groups: [string, number, string[]][], quorum: string | null) => ({
  logs, witnesses, groups: groups.map(([name, threshold, members]) => ({ name, threshold, members })), quorum,
})
write('policies', {
  valid: [
    { name: 'only a quorum', policy: 'quorum none\n', ...counts(0, 0, [], null) },
    { name: 'one log', policy, ...counts(1, 0, [], null) },
    { name: 'a log with a URL', policy: `log ${log.vkey} https://example.com/log/\nquorum none\n`, ...counts(1, 0, [], null) },
    { name: 'one origin with two keys', policy: `log ${log.vkey}\nlog ${rotated.vkey}\nquorum none\n`, ...counts(2, 0, [], null) },
    { name: 'a witness', policy: `${w('A', 0)}quorum A\n`, ...counts(0, 1, [], 'A') },
    { name: 'a witness with a URL', policy: `${w('A', 0).trim()} https://w0.example/\nquorum A\n`, ...counts(0, 1, [], 'A') },
    { name: 'all, any and a number', policy: `${three}${w('D', 3)}${w('E', 4)}group all all A B\ngroup any any C D\ngroup 2 2 E all any\nquorum 2\n`, ...counts(0, 5, [['all', 2, ['A', 'B']], ['any', 1, ['C', 'D']], ['2', 2, ['E', 'all', 'any']]], '2') },
    { name: 'the quorum before the logs', policy: `quorum none\n${policy.split('\n')[0]}\n`, ...counts(1, 0, [], null) },
    { name: 'spaces, tabs, comments and empty lines', policy: `# a comment\n\n \t \n\t log \t ${log.vkey}  \n   # log x\n \tquorum\tnone\t\n`, ...counts(1, 0, [], null) },
    { name: 'a comment beyond UTF-8', policyBytes: b64(Buffer.concat([Buffer.from('# \xff\n', 'latin1'), Buffer.from('quorum none\n')])), ...counts(0, 0, [], null) },
    { name: 'names beyond ASCII that look alike', policy: `witness K ${witnesses[0]!.vkey}\nwitness \u212a ${witnesses[1]!.vkey}\ngroup # all K \u212a\nquorum #\n`, ...counts(0, 2, [['#', 2, ['K', '\u212a']]], '#') },
    { name: 'a no-break space is not white space', policy: `witness a\u00a0b ${witnesses[0]!.vkey}\nquorum a\u00a0b\n`, ...counts(0, 1, [], 'a\u00a0b') },
    { name: 'a group of one', policy: `${w('A', 0)}group G 1 A\nquorum G\n`, ...counts(0, 1, [['G', 1, ['A']]], 'G') },
    { name: '32 logs, witnesses and groups', policy: many, ...counts(32, 32, witnesses.map((_, i) => [`G${i}`, i === 0 ? 1 : 2, [`W${i}`, ...(i === 0 ? [] : [`G${i - 1}`])]]), 'G31') },
  ],
  invalid: [
    { name: 'empty', policy: '' },
    { name: 'no quorum', policy: `log ${log.vkey}\n` },
    { name: 'two quorums', policy: 'quorum none\nquorum none\n' },
    { name: 'no newline at the end', policy: 'quorum none' },
    { name: 'CR LF', policy: 'quorum none\r\n' },
    { name: 'a form feed', policy: 'quorum none\f\n' },
    { name: 'DEL in a comment', policy: '# \x7f\nquorum none\n' },
    { name: 'a NUL in a comment', policy: '# \0\nquorum none\n' },
    { name: 'an unknown word', policy: 'mirror x\nquorum none\n' },
    { name: 'a word in upper case', policy: 'Quorum none\n' },
    { name: 'a comment after a quorum', policy: 'quorum none # comment\n' },
    { name: 'a quorum of nothing', policy: 'quorum\n' },
    { name: 'a quorum that is not defined', policy: 'quorum A\n' },
    { name: 'a quorum defined after it', policy: `quorum A\n${w('A', 0)}` },
    { name: 'a log without a key', policy: 'log\nquorum none\n' },
    { name: 'a log with two URLs', policy: `log ${log.vkey} a b\nquorum none\n` },
    { name: 'a log with a broken key', policy: `log ${log.vkey.slice(0, -1)}\nquorum none\n` },
    { name: 'a log twice', policy: `log ${log.vkey}\nlog ${log.vkey}\nquorum none\n` },
    { name: 'one key for two logs', policy: `log ${log.vkey}\nlog ${makeKey('example.com/gol', 1).vkey}\nquorum none\n` },
    { name: 'a log with the key of a cosigner', policy: `log ${witness.vkey}\nquorum none\n` },
    { name: 'a witness with the key of a log', policy: `witness A ${log.vkey}\nquorum none\n` },
    { name: 'a witness without a name', policy: `witness ${witness.vkey}\nquorum none\n` },
    { name: 'a witness twice', policy: `${w('A', 0)}${w('B', 0)}quorum none\n` },
    { name: 'two witnesses of one name', policy: `${w('A', 0)}${w('A', 1)}quorum none\n` },
    { name: 'a witness called none', policy: `${w('none', 0)}quorum none\n` },
    { name: 'a group called none', policy: `${w('A', 0)}group none all A\nquorum none\n` },
    { name: 'a group with the name of a witness', policy: `${three}group A all B C\nquorum none\n` },
    { name: 'two groups of one name', policy: `${three}group G all A\ngroup G all B\nquorum none\n` },
    { name: 'a group of nothing', policy: `${three}group G all\nquorum none\n` },
    { name: 'a threshold of 0', policy: `${three}group G 0 A B C\nquorum none\n` },
    { name: 'a threshold over the size', policy: `${three}group G 4 A B C\nquorum none\n` },
    { name: 'a threshold with a zero before it', policy: `${three}group G 02 A B C\nquorum none\n` },
    { name: 'a threshold in hex', policy: `${three}group G 0x2 A B C\nquorum none\n` },
    { name: 'a threshold with a sign', policy: `${three}group G +2 A B C\nquorum none\n` },
    { name: 'a group that is in itself', policy: `${three}group G any A G\nquorum none\n` },
    { name: 'a member that is not defined', policy: `${three}group G any A D\nquorum none\n` },
    { name: 'a member defined after it', policy: `${w('A', 0)}group G any A B\n${w('B', 1)}quorum none\n` },
    { name: 'none as a member', policy: `${three}group G any A none\nquorum none\n` },
    { name: 'a member twice', policy: `${three}group G any A A\nquorum none\n` },
    { name: 'a member of two groups', policy: `${three}group G any A B\ngroup H any B C\nquorum none\n` },
    { name: 'a name beyond UTF-8', policyBytes: b64(Buffer.concat([Buffer.from('witness \xff ', 'latin1'), Buffer.from(`${witnesses[0]!.vkey}\nquorum none\n`)])) },
  ],
})

// Ranges ----------------------------------------------------------------------------------------------------
const cover = (start: number, end: number, size: number): Bytes[] => {
  // All complete subtrees of the tree inside [start, end) that are in no other one inside it.
  const inside: [number, number][] = []
  for (let span = 1; span <= size; span *= 2)
    for (let at = 0; at + span <= size; at += span) if (at >= start && at + span <= end) inside.push([at, at + span])
  return inside
    .filter(([a, b]) => !inside.some(([c, d]) => c <= a && b <= d && d - c > b - a))
    .sort((x, y) => x[0] - y[0])
    .map(([a, b]) => mth(leaves.slice(a, b)))
}
const ranges = [[0, 1, 1], [0, 13, 13], [0, 1, 13], [12, 13, 13], [4, 8, 8], [5, 11, 13], [3, 4, 7], [1, 12, 13], [6, 7, 8], [8, 12, 12]].map(([start, end, size]) => ({
  name: `leaves ${start} to ${end} of ${size}`,
  leafHashes: leaves.slice(start, end).map(b64),
  start,
  size,
  root: b64(mth(leaves.slice(0, size))),
  proof: [...cover(0, start!, size!), ...cover(end!, size!, size!)].map(b64),
  valid: true,
}))
const middle = ranges[5]!
const wrong = (name: string, change: Partial<typeof middle>) => ({ ...middle, name, valid: false, ...change })
write('ranges', [
  ...ranges,
  wrong('no proof', { proof: [] }),
  wrong('a hash missing at the left', { proof: middle.proof.slice(1) }),
  wrong('a hash missing at the right', { proof: middle.proof.slice(0, -1) }),
  wrong('a hash too many', { proof: [...middle.proof, root] }),
  wrong('the hashes in the order of an audit path', { proof: middle.proof.toReversed() }),
  wrong('subtrees that are not the largest', { proof: [b64(leaves[0]!), ...middle.proof] }),
  wrong('the range one to the left', { start: 4 }),
  wrong('the range one to the right', { start: 6 }),
  wrong('another size', { size: 12 }),
  wrong('another root', { root: emptyRoot }),
  wrong('a leaf less', { leafHashes: middle.leafHashes.slice(1) }),
  wrong('a leaf more', { leafHashes: [...middle.leafHashes, b64(leaves[11]!)] }),
  wrong('two leaves exchanged', { leafHashes: [middle.leafHashes[1]!, middle.leafHashes[0]!, ...middle.leafHashes.slice(2)] }),
  wrong('no leaf', { leafHashes: [], start: 0, size: 13, proof: cover(0, 13, 13).map(b64) }),
  wrong('a range past the end', { start: 12 }),
  wrong('inner nodes as leaves', { start: 0, size: 1, leafHashes: [b64(mth(leaves.slice(0, 8)))], proof: [] }),
])

// tlog-proofs -------------------------------------------------------------------------------------------------
const proofOf = (index: number, extra = '') =>
  `c2sp.org/tlog-proof@v1\n${extra}index ${index}\n${auditPath(index, leaves).map((hash) => `${b64(hash)}\n`).join('')}\n${signed(body)}`
const one = `example.com/log\n1\n${b64(leaves[0]!)}\n`
const changed = (from: string | RegExp, to: string) => proofOf(5).replace(from, to)
const good = { index: 5, leafHash: b64(leaves[5]!), size: 13 }
type ProofCase = { name: string; proof: string; result: string; leafHash?: string; policy?: string; index?: number; size?: number; extra?: string }
const proofs: ProofCase[] = [
  ...[0, 5, 8, 12].map((index) => ({ name: `leaf ${index} of 13`, proof: proofOf(index), result: 'ok', index, leafHash: b64(leaves[index]!), size: 13 })),
  { name: 'extra data', proof: proofOf(5, 'extra AAEC\n'), result: 'ok', ...good, extra: 'AAEC' },
  { name: 'a tree of one leaf', proof: `c2sp.org/tlog-proof@v1\nindex 0\n\n${signed(one)}`, result: 'ok', index: 0, leafHash: b64(leaves[0]!), size: 1 },
  { name: 'another leaf', proof: proofOf(5), result: 'inclusion', leafHash: b64(leaves[6]!) },
  { name: 'another index', proof: changed('index 5', 'index 4'), result: 'inclusion' },
  { name: 'an index past the end', proof: changed('index 5', 'index 13'), result: 'inclusion' },
  { name: 'a hash missing', proof: changed(/index 5\n.*\n/, 'index 5\n'), result: 'inclusion' },
  { name: 'a hash too many', proof: changed('index 5\n', `index 5\n${root}\n`), result: 'inclusion' },
  { name: 'a log that the policy does not have', proof: proofOf(5), policy: `log ${other.vkey}\nquorum none\n`, result: 'untrusted' },
  { name: 'a quorum', proof: proofOf(5), policy: `log ${log.vkey}\nwitness W ${witness.vkey}\nquorum W\n`, result: 'unsupported' },
  { name: 'a wrong signature', proof: changed(log.line(body), shuffled(log.line(body))), result: 'signature' },
  { name: 'empty', proof: '', result: 'malformed' },
  { name: 'no header', proof: changed('c2sp.org/tlog-proof@v1\n', ''), result: 'malformed' },
  { name: 'a newer header', proof: changed('@v1', '@v2'), result: 'malformed' },
  { name: 'empty extra data', proof: proofOf(5, 'extra \n'), result: 'malformed' },
  { name: 'extra data twice', proof: proofOf(5, 'extra AAEC\nextra AAEC\n'), result: 'malformed' },
  { name: 'extra data after the index', proof: changed('index 5\n', 'index 5\nextra AAEC\n'), result: 'malformed' },
  { name: 'extra data without padding', proof: proofOf(5, 'extra AA\n'), result: 'malformed' },
  { name: 'too much extra data', proof: proofOf(5, `extra ${b64(Buffer.alloc(48_001))}\n`), result: 'malformed' },
  { name: 'no index', proof: changed('index 5\n', ''), result: 'malformed' },
  { name: 'an index with a zero before it', proof: changed('index 5', 'index 05'), result: 'malformed' },
  { name: 'an index of 2^53', proof: changed('index 5', 'index 9007199254740992'), result: 'malformed' },
  { name: 'two spaces', proof: changed('index 5', 'index  5'), result: 'malformed' },
  { name: 'a hash of 31 bytes', proof: changed('index 5\n', `index 5\n${b64(Buffer.alloc(31))}\n`), result: 'malformed' },
  { name: '64 hashes', proof: changed('index 5\n', `index 5\n${`${root}\n`.repeat(60)}`), result: 'malformed' },
  { name: 'no blank line', proof: `c2sp.org/tlog-proof@v1\nindex 0\n${one}`, result: 'malformed' },
  { name: 'no checkpoint', proof: proofOf(5).slice(0, proofOf(5).indexOf('\n\n') + 2), result: 'malformed' },
  { name: 'CR LF', proof: proofOf(5).replaceAll('\n', '\r\n'), result: 'malformed' },
  { name: 'a byte order mark', proof: `\ufeff${proofOf(5)}`, result: 'malformed' },
]
write('tlog-proofs', proofs.map(({ proof, ...rest }) => ({ policy, leafHash: good.leafHash, ...rest, proof: b64(proof) })))

/** One case a line, so that a change shows up as one line. */
function write(name: string, value: unknown): void {
  const list = (cases: readonly unknown[], indent: string) => `[\n${cases.map((item) => `${indent}  ${JSON.stringify(item)}`).join(',\n')}\n${indent}]`
  const json = Array.isArray(value)
    ? list(value, '')
    : `{\n${Object.entries(value as Record<string, unknown[]>).map(([key, cases]) => `  ${JSON.stringify(key)}: ${list(cases, '  ')}`).join(',\n')}\n}`
  writeFileSync(new URL(`${name}.json`, import.meta.url), `${json}\n`)
}
