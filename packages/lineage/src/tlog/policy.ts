/**
 * Trust policies (c2sp.org/tlog-policy): which logs count, and which witnesses must have cosigned.
 *
 * Parsed in full; witness cosignatures are not checked yet, so that whoever opens a checkpoint under a policy
 * with a quorum other than `none` gets an error and no answer.
 */
import { parseDecimal, parseUtf8, utf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import {
  ED25519,
  ED25519_COSIGNATURE,
  formatVerifierKey,
  ML_DSA_44,
  parseVerifierKey,
  samePublicKey,
  type VerifierKey,
} from './key.ts'

/** How large a policy may be, in bytes. */
export const MAX_POLICY_SIZE = 1_048_576

/** A log that counts; the name of its key is its origin. One log with two keys is two of these. */
export interface PolicyLog {
  readonly key: VerifierKey
  readonly url: string | undefined
}

/** A witness. `name` is the policy's own word for it, not the name of its key. */
export interface PolicyWitness {
  readonly name: string
  readonly key: VerifierKey
  readonly url: string | undefined
}

/** A group that has witnessed a checkpoint when at least `threshold` of its members have. */
export interface PolicyGroup {
  readonly name: string
  readonly threshold: number
  /** Names of witnesses, and of groups before this one. */
  readonly members: readonly string[]
}

export interface Policy {
  readonly logs: readonly PolicyLog[]
  readonly witnesses: readonly PolicyWitness[]
  readonly groups: readonly PolicyGroup[]
  /** The witness or group that must have witnessed a checkpoint; undefined for `none`. */
  readonly quorum: string | undefined
}

/** Parses a policy file; throws a {@link MalformedError} that names the line. Text outside comments is UTF-8. */
export function parsePolicy(file: Uint8Array | string): Policy {
  const bytes = typeof file === 'string' ? utf8(file) : file
  if (bytes.length > MAX_POLICY_SIZE)
    throw new MalformedError(`a policy is over ${MAX_POLICY_SIZE} bytes long`)
  if (bytes.length > 0 && bytes.at(-1) !== 0x0a)
    throw new MalformedError('a policy does not end in a newline')
  const draft: Draft = {
    logs: [],
    witnesses: [],
    groups: [],
    quorums: [],
    names: new Set(),
    members: new Set(),
  }
  let number = 0
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0x0a, at)
    number += 1
    try {
      parseLine(bytes.subarray(at, end), draft)
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error
      throw new MalformedError(`policy line ${number}`, error.message, { cause: error })
    }
    at = end + 1
  }
  const { logs, witnesses, groups, quorums } = draft
  if (quorums.length !== 1) throw new MalformedError('a policy has no quorum line')
  return { logs, witnesses, groups, quorum: quorums[0] === 'none' ? undefined : quorums[0] }
}

/** The text of a policy: logs, witnesses, groups and quorum, a line each. Parsing it gives an equal policy. */
export function formatPolicy(policy: Policy): string {
  const lines = [
    ...policy.logs.map(({ key, url }) => [
      'log',
      formatVerifierKey(key),
      ...(url === undefined ? [] : [url]),
    ]),
    ...policy.witnesses.map(({ name, key, url }) => [
      'witness',
      name,
      formatVerifierKey(key),
      ...(url === undefined ? [] : [url]),
    ]),
    ...policy.groups.map(({ name, threshold, members }) => [
      'group',
      name,
      formatThreshold(threshold, members),
      ...members,
    ]),
    ['quorum', policy.quorum ?? 'none'],
  ]
  return lines.map((words) => `${words.join(' ')}\n`).join('')
}

/** A policy that accepts these logs without witnesses. */
export function policyOfLogs(...keys: readonly VerifierKey[]): Policy {
  return { logs: keys.map((key) => ({ key, url: undefined })), witnesses: [], groups: [], quorum: undefined }
}

interface Draft {
  logs: PolicyLog[]
  witnesses: PolicyWitness[]
  groups: PolicyGroup[]
  quorums: string[]
  /** Witnesses and groups so far. */
  names: Set<string>
  /** Those of them that are in a group. */
  members: Set<string>
}

function parseLine(bytes: Uint8Array, draft: Draft): void {
  for (const byte of bytes)
    if ((byte < 0x20 && byte !== 0x09) || byte === 0x7f) throw new MalformedError('a control character')
  const first = bytes.find((byte) => byte !== 0x20 && byte !== 0x09)
  if (first === undefined || first === 0x23) return // empty, or a comment, whose bytes may be anything
  const [keyword, ...words] = parseUtf8(bytes, 'the line')
    .split(/[ \t]+/)
    .filter((word) => word !== '')
  if (keyword === 'log') parseLog(words, draft)
  else if (keyword === 'witness') parseWitness(words, draft)
  else if (keyword === 'group') parseGroup(words, draft)
  else if (keyword === 'quorum') parseQuorum(words, draft)
  else throw new MalformedError('neither log, witness, group nor quorum')
}

function parseLog(words: readonly string[], draft: Draft): void {
  const [vkey, url, ...rest] = words
  if (vkey === undefined || rest.length > 0) throw new MalformedError('a log is a key and perhaps a URL')
  const key = parseVerifierKey(vkey)
  if (key.type !== ED25519 && key.type !== ML_DSA_44)
    throw new MalformedError('a key of a type that logs do not have')
  if (draft.logs.some((log) => samePublicKey(log.key, key)))
    throw new MalformedError('a log with the key of another')
  draft.logs.push({ key, url })
}

function parseWitness(words: readonly string[], draft: Draft): void {
  const [name, vkey, url, ...rest] = words
  if (name === undefined || vkey === undefined || rest.length > 0)
    throw new MalformedError('a witness is a name, a key and perhaps a URL')
  const key = parseVerifierKey(vkey)
  if (key.type !== ED25519_COSIGNATURE && key.type !== ML_DSA_44)
    throw new MalformedError('a key of a type that witnesses do not have')
  if (draft.witnesses.some((witness) => samePublicKey(witness.key, key)))
    throw new MalformedError('a witness with the key of another')
  define(name, draft)
  draft.witnesses.push({ name, key, url })
}

function parseGroup(words: readonly string[], draft: Draft): void {
  const [name, threshold, ...members] = words
  if (name === undefined || threshold === undefined || members.length === 0)
    throw new MalformedError('a group is a name, all, any or a number, and members')
  for (const member of members) {
    if (!draft.names.has(member))
      throw new MalformedError('a group with a member that no line before it defines')
    if (draft.members.has(member))
      throw new MalformedError('a group with a member that is in a group already')
    draft.members.add(member)
  }
  define(name, draft)
  const count =
    threshold === 'all'
      ? members.length
      : threshold === 'any'
        ? 1
        : parseDecimal(threshold, 'the threshold of a group')
  if (count < 1 || count > members.length)
    throw new MalformedError('a group whose threshold is not from 1 to its size')
  draft.groups.push({ name, threshold: count, members })
}

function parseQuorum(words: readonly string[], draft: Draft): void {
  const [name, ...rest] = words
  if (name === undefined || rest.length > 0) throw new MalformedError('a quorum is one name')
  if (name !== 'none' && !draft.names.has(name))
    throw new MalformedError('a quorum that no line before it defines')
  if (draft.quorums.length > 0) throw new MalformedError('a second quorum')
  draft.quorums.push(name)
}

function define(name: string, draft: Draft): void {
  if (name === 'none') throw new MalformedError('the name none, which has a meaning of its own')
  if (draft.names.has(name)) throw new MalformedError('a name that is defined already')
  draft.names.add(name)
}

function formatThreshold(threshold: number, members: readonly string[]): string {
  return threshold === members.length ? 'all' : threshold === 1 ? 'any' : String(threshold)
}
