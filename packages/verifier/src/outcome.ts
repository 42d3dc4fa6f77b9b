/** Exit codes, and what is said when something did not verify or could not be checked. */
import { MalformedError, type VerificationCode, VerificationError } from '@rootspan/lineage/errors'
import { MAX_POLICY_SIZE, type Policy, parsePolicy } from '@rootspan/lineage/tlog/policy'
import { printable } from './text.ts'
import { type Terminal, UnusableError, type World } from './world.ts'

export const VERIFIED = 0
/** The evidence is bad. */
export const BAD = 1
/** It could not be checked, which says nothing about the evidence. */
export const UNCHECKED = 2

export type ExitCode = typeof VERIFIED | typeof BAD | typeof UNCHECKED

/** Bad evidence outweighs evidence that could not be checked. */
export function worst(codes: readonly ExitCode[]): ExitCode {
  return codes.includes(BAD) ? BAD : codes.includes(UNCHECKED) ? UNCHECKED : VERIFIED
}

/** Why something was not verified: what people and programs are told. */
export interface Failure {
  readonly exit: typeof BAD | typeof UNCHECKED
  /** A code of a VerificationError, or `unusable`. */
  readonly code: VerificationCode | 'unusable'
  /** The part of the evidence, or empty. */
  readonly where: string
  readonly reason: string
  readonly next: string
}

/** What an error means to the user. What is none of theirs, our own bug, is thrown again. */
export function failureOf(error: unknown): Failure {
  if (error instanceof VerificationError) {
    const { code, where, reason } = error
    return { exit: code === 'unsupported' ? UNCHECKED : BAD, code, where, reason, next: NEXT[code] }
  }
  if (error instanceof UnusableError)
    return { exit: UNCHECKED, code: 'unusable', where: '', reason: error.message, next: error.hint }
  throw error
}

const KEEP = 'Keep it as it is; get it again from its source and compare.'

const NEXT: Readonly<Record<VerificationCode, string>> = {
  malformed: `It was damaged or changed, or it is something else. ${KEEP}`,
  unsupported: 'Use a newer rootspan-verify, or a policy that asks for what this one can check.',
  untrusted:
    'The policy does not name a key that signed this. Check that policy and log belong together, and get the key from its operator by another way than the log itself.',
  signature: `Somebody without the log's key changed the checkpoint, or made it up. ${KEEP}`,
  inclusion: `What it shows is not what the log signed. ${KEEP}`,
  consistency:
    'The log has signed what its entries do not give: two histories, or it serves another one. Keep everything that was fetched, and tell other auditors.',
  tile: 'The log serves what it did not sign. Fetch it again; if it stays so, tell its operator and keep what was served.',
  link: 'A record names what is not there. Keep what was fetched, and tell the operator of the log.',
  order: `Records were moved. ${KEEP}`,
  seal: `A segment is not whole: something is missing or was added. ${KEEP}`,
  evidence: `The payload is not what was received. ${KEEP}`,
  erasure: `Missing is not erased: the log accounts for what was erased, and not for this. ${KEEP}`,
  claims: `What is stated is not what was committed to. ${KEEP}`,
  record: `A record is not what its payload gives. ${KEEP}`,
  context: `What the judgement says of another execution is not what that one's record says. ${KEEP}`,
  verdict: `The recorded verdict is not what its rules give. ${KEEP}`,
}

/** Prints a failure: `what` is a file or URL. */
export function printFailure(to: Terminal, what: string, failure: Failure): void {
  const { bold, red, yellow, dim } = to.colors
  const title = failure.exit === BAD ? red(bold('BAD')) : yellow(bold('NOT CHECKED'))
  const code = failure.code === 'unusable' ? '' : ` ${dim(`(${failure.code})`)}`
  const where = failure.where === '' ? '' : `${printable(failure.where)}: `
  to.write(`${title}  ${printable(what)}\n  ${where}${printable(failure.reason)}${code}\n  ${failure.next}\n`)
}

/** Says why something could not be shown: to programs on the one terminal, to people on the other. */
export function reportFailure(
  world: World,
  what: { readonly file: string } | { readonly url: string },
  isJson: boolean,
  error: unknown,
): ExitCode {
  const { exit, ...rest } = failureOf(error)
  if (isJson) {
    const result = exit === BAD ? 'bad' : 'not checked'
    world.out.write(`${JSON.stringify({ ...what, result, ...rest }, null, 2)}\n`)
  } else printFailure(world.err, 'file' in what ? what.file : what.url, { exit, ...rest })
  return exit
}

/** The policy of a file. Throws an UnusableError: a bad policy says nothing about the evidence. */
export async function readPolicy(world: World, path: string): Promise<Policy> {
  const hint =
    'A policy is a text file with a line "log <key>" and a line "quorum none": see docs/audit/README.md.'
  try {
    const policy = parsePolicy(await world.read(path, MAX_POLICY_SIZE + 1))
    if (policy.logs.length === 0) throw new UnusableError(`policy ${path}: it names no log`, hint)
    return policy
  } catch (error) {
    if (error instanceof MalformedError)
      throw new UnusableError(`policy ${path}: ${error.message}`, hint, { cause: error })
    if (error instanceof UnusableError && !error.message.startsWith('policy '))
      throw new UnusableError(`policy ${path}: ${error.message}`, error.hint, { cause: error })
    throw error
  }
}
