/**
 * The five answers: why it ran, who authorized it, what policy permitted it, how trust persisted while it ran, whether
 * governance stayed continuous.
 *
 * Plain sentences built from records, no more: each clause names the records it was read from, and what is not known is
 * said as such. Made from an execution and its judgement, so that collector and verifier tell the same.
 */
import type { Authorization, Decision, Request } from './facts.ts'
import { continuityOf, type Judgement } from './judgement.ts'
import type { Execution, Joined, Node } from './model.ts'
import { ruleOf } from './ruleset.ts'

export const QUESTIONS = ['why', 'who', 'policy', 'trust', 'continuity'] as const
export type Question = (typeof QUESTIONS)[number]

export interface Clause {
  /** Without a full stop. */
  readonly text: string
  /** Leaf hashes of the records that say it; none where nothing does. */
  readonly records: readonly Uint8Array[]
  /** `inferred` from ordinary attributes, said by a record, or `unknown`. */
  readonly basis: 'recorded' | 'inferred' | 'unknown'
}

export interface Answer {
  readonly question: Question
  /** What is asked, for people: `Why did it run?` */
  readonly title: string
  /** At least one. */
  readonly clauses: readonly Clause[]
}

/** Clauses of one answer that are told; how many more there are is one more clause. */
const MAX_CLAUSES = 8

/** Always five, in the order of {@link QUESTIONS}. */
export function why(execution: Execution, judgement: Judgement): readonly Answer[] {
  return [
    answer('why', 'Why did it run?', whyItRan(execution)),
    answer('who', 'Who authorized it?', whoAuthorized(execution)),
    answer('policy', 'What policy permitted it?', whatPermitted(execution)),
    answer('trust', 'How did trust persist while it ran?', howTrustPersisted(execution)),
    answer('continuity', 'Did governance stay continuous?', wasContinuous(execution, judgement)),
  ]
}

function answer(question: Question, title: string, clauses: readonly Clause[]): Answer {
  const more = clauses.length - MAX_CLAUSES
  const told = more > 0 ? [...clauses.slice(0, MAX_CLAUSES), unknown(`and ${more} more like these`)] : clauses
  return { question, title, clauses: told }
}

function whyItRan({ requests, spans, erased }: Execution): Clause[] {
  const first = requests.find(({ on }) => on.parent === undefined) ?? requests[0]
  const clauses: Clause[] = first === undefined ? [] : [requestClause(first)]
  const root = spans.find(({ parent }) => parent === undefined)
  if (first === undefined)
    clauses.push(
      root === undefined
        ? unknown('Nothing of it is left that says why it ran')
        : unknown(`It began with span ${quote(root.name)}${of(root)}, and nothing says why that ran`, root),
    )
  if (first?.parentId !== undefined)
    clauses.push(recorded(`It was begun by execution ${first.parentId}`, first))
  if (first?.on.parentId !== '' && first?.on.parent === undefined && first !== undefined)
    clauses.push(
      unknown(`It was called from outside, by span ${first.on.parentId}, which is not in this log`, first.on),
    )
  for (const segment of erased)
    clauses.push(unknown(`Segment ${segment} was erased: what was in it is not known`))
  return clauses
}

function requestClause(request: Request): Clause {
  const kind = request.kind ?? 'request'
  const text = `It began with the ${kind} ${quote(request.on.name)}${of(request.on)} at ${time(request.on.start)}`
  return request.inferred
    ? { text: `${text}, as its ordinary attributes tell`, records: [request.leaf], basis: 'inferred' }
    : recorded(text, request)
}

function whoAuthorized({ authorizations, services }: Execution): Clause[] {
  const clauses: Clause[] = []
  const seen = new Set<string>()
  for (const artifact of authorizations) {
    if (artifact.inherited || artifact.status === 'revoked') continue
    const key =
      artifact.fingerprint ??
      artifact.id ??
      JSON.stringify([artifact.type, artifact.issuer, artifact.subject])
    const said = `${key} ${artifact.verification} ${artifact.on.service.name}`
    if (seen.has(said)) continue
    seen.add(said)
    clauses.push(recorded(artifactText(artifact), artifact))
  }
  if (clauses.length > 0) return clauses
  return [unknown(`No authorization was recorded${coverage(services)}`)]
}

function artifactText(artifact: Authorization): string {
  const what = artifact.approvalId === undefined ? (artifact.type ?? 'artifact') : 'approval'
  const parts = [`${capital(article(what))}${artifact.issuer === undefined ? '' : ` of ${artifact.issuer}`}`]
  if (artifact.subject !== undefined) parts.push(`for ${short(artifact.subject)}`)
  const [actor, ...rest] = artifact.actorChain
  if (actor !== undefined) parts.push(`used by ${[actor, ...rest].map(short).join(' for ')}`)
  if (artifact.approver !== undefined) parts.push(`given by ${short(artifact.approver)}`)
  const checked: Readonly<Record<string, string>> = {
    verified: 'was verified',
    failed: 'was refused',
    unverified: 'was read and not verified',
    skipped: 'was not verified, because the application asked not to',
  }
  parts.push(
    `${checked[artifact.verification ?? ''] ?? 'was presented; nobody says whether it was verified'}${by(artifact)}`,
  )
  if (artifact.expiresAt !== undefined) parts.push(`and holds until ${seconds(artifact.expiresAt)}`)
  return parts.join(' ')
}

function by({ on, method }: Authorization): string {
  const service = on.service.name === '' ? '' : ` by ${on.service.name}`
  return method === undefined ? service : `${service} (${method})`
}

function whatPermitted({ actions, joins, decisions, services }: Execution): Clause[] {
  const clauses: Clause[] = []
  const told = new Set<Decision>()
  for (const action of actions) {
    if (action.inferred && !action.on.governed) continue
    const joined = joins.get(action)
    const name = `Action ${quote(action.name ?? action.on.name)}`
    if (joined === undefined) {
      clauses.push(unknown(`${name}${of(action.on)}: no decision about it was recorded`, action.on))
      continue
    }
    told.add(joined.decision)
    clauses.push({
      text: `${name} ${outcomeText(action.outcome)}: ${decisionText(joined.decision)}${joinText(joined)}`,
      records: [action.leaf, joined.decision.leaf],
      basis: 'recorded',
    })
  }
  for (const decision of decisions)
    if (!told.has(decision)) clauses.push(recorded(capital(decisionText(decision)), decision))
  if (clauses.length > 0) return clauses
  return [unknown(`No policy decision was recorded${coverage(services)}`)]
}

function decisionText(decision: Decision): string {
  const { engine, engineVersion, policyId, policyVersion, policyDigest, outcome, enforcement, errors } =
    decision
  const who =
    engine === undefined
      ? 'a policy engine'
      : `${engine}${engineVersion === undefined ? '' : ` ${engineVersion}`}`
  const version = policyVersion ?? (policyDigest === undefined ? undefined : short(policyDigest))
  const policy =
    policyId === undefined && version === undefined
      ? 'by a policy that it did not name'
      : `by policy ${policyId ?? ''}${version === undefined ? ' in a version that it did not tell' : ` in version ${version}`}`
  const said: Readonly<Record<string, string>> = {
    allow: 'allowed it',
    deny: 'denied it',
    conditional: 'allowed it under conditions',
    approval_required: 'asked for an approval',
    transform: 'allowed it in a changed form',
    not_applicable: 'had no answer',
    error: 'failed',
  }
  const notes = [
    ...(enforcement === 'dry_run' || enforcement === 'advisory' ? ['not enforced'] : []),
    ...(errors > 0 ? [`with ${errors} errors`] : []),
    ...(decision.cached ? ['from a cache'] : []),
    ...(decision.corroboration === undefined ? [] : [`as ${decision.corroboration} says itself`]),
  ]
  const more = notes.length === 0 ? '' : ` (${notes.join(', ')})`
  return `${who} ${said[outcome ?? ''] ?? 'answered something else'} ${policy}${more}`
}

function outcomeText(outcome: string | undefined): string {
  const said: Readonly<Record<string, string>> = {
    success: 'was done',
    failure: 'failed',
    partial: 'was done in part',
    refused: 'was refused',
  }
  return said[outcome ?? ''] ?? 'may or may not have been done'
}

function joinText({ method }: Joined): string {
  const how: Readonly<Record<string, string>> = {
    id: ', which the action names',
    link: ', which the action links to',
    ancestor: ', above the action',
    sibling: ', right before the action',
    digest: ', about the same digest',
  }
  return how[method] ?? ''
}

function howTrustPersisted({ authorizations, verifications, transitions, spans }: Execution): Clause[] {
  const clauses: Clause[] = []
  for (const transition of transitions) {
    const { type, from, to, trigger } = transition
    const change =
      from === undefined ? `became ${to ?? 'another'}` : `went from ${from} to ${to ?? 'another'}`
    clauses.push(
      recorded(
        `${capital(type ?? 'something')} ${change}${trigger === undefined ? '' : `, because of ${trigger}`}`,
        transition,
      ),
    )
  }
  const inherited = authorizations.filter((artifact) => artifact.inherited)
  if (inherited.length > 0)
    clauses.push({
      text: `The authorization was carried on to ${count(new Set(inherited.map(({ on }) => on)).size, 'span')}`,
      records: inherited.slice(0, MAX_CLAUSES).map(({ leaf }) => leaf),
      basis: 'recorded',
    })
  const passed = verifications.filter(({ outcome }) => outcome === 'pass')
  if (passed.length > 0)
    clauses.push({
      text: `${capital(count(passed.length, 'check'))} passed while it ran, the last at ${time(latest(passed))}`,
      records: passed.slice(-MAX_CLAUSES).map(({ leaf }) => leaf),
      basis: 'recorded',
    })
  for (const check of verifications)
    if (check.outcome === 'fail')
      clauses.push(
        recorded(
          `A check of ${check.type ?? 'something'} failed at ${time(check.at)}${reason(check.reason)}`,
          check,
        ),
      )
  for (const artifact of authorizations)
    if (artifact.status === 'revoked')
      clauses.push(recorded(`An artifact was revoked at ${time(artifact.at)}`, artifact))
  if (clauses.length > 0) return clauses
  const governed = spans.find((node) => node.governed)
  return [unknown('Nothing was recorded about trust while it ran', governed)]
}

function wasContinuous({ erased, services }: Execution, judgement: Judgement): Clause[] {
  const state = continuityOf(judgement)
  const clauses: Clause[] = judgement.findings.map(({ rule, severity, detail, subjects }) => ({
    text: `${rule} (${severity}, ${ruleOf(rule)?.title ?? 'unknown rule'}): ${detail}`,
    records: subjects,
    basis: 'recorded',
  }))
  const missing = judgement.results.filter(({ missing }) => missing.length > 0)
  if (state === 'intact')
    clauses.unshift({
      text: `Yes, by the ${count(judgement.results.length, 'rule')} that had something to look at`,
      records: [],
      basis: 'recorded',
    })
  else if (state === 'broken')
    clauses.unshift({
      text: `No, by ${count(judgement.findings.length, 'finding')}`,
      records: [],
      basis: 'recorded',
    })
  else if (judgement.results.length === 0) clauses.unshift(unknown(`Nobody can say${coverage(services)}`))
  else clauses.unshift(unknown(`Nothing was found, and ${count(missing.length, 'rule')} could not tell`))
  for (const { rule, missing: what } of missing)
    clauses.push(unknown(`${rule} does not know ${what.join('; ')}`))
  for (const segment of erased) clauses.push(unknown(`Segment ${segment} was erased`))
  return clauses
}

/** Why nothing may have been recorded. */
function coverage(services: Execution['services']): string {
  const bare = services.filter(({ covered }) => !covered)
  if (bare.length === 0) return ''
  const names = [...new Set(bare.map(({ name }) => name || 'a service without a name'))].slice(0, 4)
  return `, and nothing instruments ${names.join(', ')} for it`
}

function recorded(text: string, record: { readonly leaf: Uint8Array }): Clause {
  return { text, records: [record.leaf], basis: 'recorded' }
}

function unknown(text: string, record?: { readonly leaf: Uint8Array }): Clause {
  return { text, records: record === undefined ? [] : [record.leaf], basis: 'unknown' }
}

function of(node: Node): string {
  return node.service.name === '' ? '' : ` of ${node.service.name}`
}

function reason(code: string | undefined): string {
  return code === undefined ? '' : `: ${code}`
}

function latest(facts: readonly { readonly at: bigint }[]): bigint {
  let last = 0n
  for (const { at } of facts) if (at > last) last = at
  return last
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

function article(noun: string): string {
  return `${/^[aeiou]/i.test(noun) ? 'an' : 'a'} ${noun}`
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/** Names come from the application: on one line, and marked as such. */
function quote(name: string): string {
  return JSON.stringify(name.toWellFormed())
}

/** Fingerprints and digests are recognised by their beginning. */
function short(value: string): string {
  const digest = /^([a-z0-9-]+:)?([0-9a-f]{12})[0-9a-f]{20,}$/.exec(value)
  return digest === null ? value.toWellFormed() : `${digest[1] ?? ''}${digest[2]}…`
}

function time(nanoseconds: bigint): string {
  return isoTime(Number(nanoseconds / 1_000_000n))
}

function seconds(since: number): string {
  return isoTime(since * 1000)
}

/** Times that no calendar has are told as they are. */
function isoTime(millis: number): string {
  return Math.abs(millis) <= 8.64e15 ? new Date(millis).toISOString() : `${millis} ms since 1970`
}
