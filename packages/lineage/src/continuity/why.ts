/**
 * The five answers: why it ran, who authorized it, what policy permitted it, how trust persisted while it ran, whether
 * governance stayed continuous.
 *
 * Plain sentences built from records, no more: each clause names the records it was read from, and what is not known is
 * said as such. Made from an execution and its judgement, so that collector and verifier tell the same.
 */
import type { Action, Authorization, Decision, Request } from './facts.ts'
import { continuityOf, type Finding, type Judgement } from './judgement.ts'
import type { Execution, Joined, Node } from './model.ts'
import { SEVERITIES } from './rule.ts'
import { ruleOf } from './ruleset.ts'
import { isOutside, type Standing, type TieredFact, tiersOf } from './tier.ts'
import { article, capital, count, oneLine, quote, several, short, word } from './words.ts'

export const QUESTIONS = ['why', 'who', 'policy', 'trust', 'continuity'] as const
export type Question = (typeof QUESTIONS)[number]

/** Inferred from ordinary attributes, said by a record, or not known. */
export const BASES = ['recorded', 'inferred', 'unknown'] as const

export interface Clause {
  /** Without a full stop. */
  readonly text: string
  /** Leaf hashes of the records that say it; none where nothing does. */
  readonly records: readonly Uint8Array[]
  readonly basis: (typeof BASES)[number]
  /** How what it is built from stands, at the lowest; absent where it rests on nothing that anybody said. */
  readonly standing?: Standing | undefined
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
/** Records that a clause names. */
const MAX_RECORDS = 8

/** What is known of a judgement beside itself. */
interface Told {
  /** False where it was made by rules that are not known here: it is told as what was recorded then. Default true. */
  readonly isRecomputed?: boolean
  /** Leaf hash of the seal that holds the verdict. */
  readonly seal?: Uint8Array
  /** Number of the first segment that was sealed after that, without a judgement. */
  readonly pendingFrom?: number | undefined
}

/** Always five, in the order of {@link QUESTIONS}. */
export function why(execution: Execution, judgement: Judgement, told: Told = {}): readonly Answer[] {
  return [
    answer('why', 'Why did it run?', whyItRan(execution)),
    answer('who', 'Who authorized it?', whoAuthorized(execution)),
    answer('policy', 'What policy permitted it?', whatPermitted(execution)),
    answer('trust', 'How did trust persist while it ran?', howTrustPersisted(execution)),
    answer('continuity', 'Did governance stay continuous?', wasContinuous(execution, judgement, told)),
  ]
}

function answer(question: Question, title: string, clauses: readonly Clause[]): Answer {
  const told = merge(clauses)
  const rest = told.splice(MAX_CLAUSES)
  if (rest.length > 0) {
    const [lowest] = rest.flatMap(({ standing }) => standing ?? []).sort((a, b) => (a.tier < b.tier ? -1 : 1))
    told.push({
      text: `And ${rest.length} more that ${rest.length === 1 ? 'is' : 'are'} not told here`,
      records: rest.flatMap(({ records }) => records).slice(0, MAX_RECORDS),
      basis: rest.some(({ basis }) => basis === 'unknown') ? 'unknown' : 'recorded',
      ...(lowest !== undefined && { standing: { ...lowest, text: `${lowest.tier} at the lowest` } }),
    })
  }
  return { question, title, clauses: told }
}

/** Clauses that say the same become one, with the records of all of them. */
function merge(clauses: readonly Clause[]): Clause[] {
  return [
    ...Map.groupBy(clauses, ({ text, basis, standing }) => JSON.stringify([text, basis, standing])).values(),
  ].map((same) => {
    const { text, basis, standing } = same[0]!
    const records = same.flatMap((clause) => clause.records).slice(0, MAX_RECORDS)
    return { text: same.length === 1 ? text : `${text} (${same.length} times)`, records, basis, standing }
  })
}

function whyItRan(execution: Execution): Clause[] {
  const { requests, spans, erased } = execution
  const first = requests.find(({ on }) => on.parent === undefined) ?? requests[0]
  const clauses: Clause[] = first === undefined ? [] : [requestClause(first, execution)]
  const root = spans.find(({ parent }) => parent === undefined)
  if (first === undefined)
    clauses.push(
      root === undefined
        ? unknown('Nothing of it is left that says why it ran')
        : unknown(`It began with span ${quote(root.name)}${of(root)}, and nothing says why that ran`, root),
    )
  if (first?.parentId !== undefined)
    clauses.push(recorded(`It was begun by execution ${word(first.parentId)}`, first, execution))
  if (first?.on.parentId !== '' && first?.on.parent === undefined && first !== undefined)
    clauses.push(
      unknown(
        `It was called from outside, by span ${first.on.parentId}, of which there is no record here`,
        first.on,
      ),
    )
  for (const segment of erased)
    clauses.push(
      unknown(`Something of segment ${segment} was erased or is withheld: what it was is not known`),
    )
  return clauses
}

function requestClause(request: Request, execution: Execution): Clause {
  const kind =
    request.kind === undefined || request.kind === 'request' ? 'request' : `${word(request.kind)} request`
  const text = `It began with the ${kind} ${quote(request.on.name)}${of(request.on)} at ${time(request.on.start)}`
  return request.inferred
    ? {
        text: `${text}, as its ordinary attributes tell`,
        records: [request.leaf],
        basis: 'inferred',
        standing: tiersOf(execution).of(request),
      }
    : recorded(text, request, execution)
}

function whoAuthorized(execution: Execution): Clause[] {
  const { authorizations, services } = execution
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
    clauses.push(recorded(artifactText(artifact), artifact, execution))
  }
  if (clauses.length > 0) return clauses
  return [unknown(`No authorization was recorded${coverage(services)}`)]
}

function artifactText(artifact: Authorization): string {
  const what = artifact.approvalId === undefined ? word(artifact.type ?? 'artifact') : 'approval'
  const parts = [
    `${capital(article(what))}${artifact.issuer === undefined ? '' : ` of ${word(artifact.issuer)}`}`,
  ]
  if (artifact.subject !== undefined) parts.push(`for ${short(artifact.subject)}`)
  const { actorChain, scope = [] } = artifact
  if (actorChain.length > 0) parts.push(`used by ${several(actorChain, ' for ')}`)
  if (scope.length > 0) parts.push(`with scope ${several(scope, ', ')}`)
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
  const service = on.service.name === '' ? '' : ` by ${word(on.service.name)}`
  return method === undefined ? service : `${service} (${word(method)})`
}

function whatPermitted(execution: Execution): Clause[] {
  const { actions, joins, decisions, services } = execution
  const tiers = tiersOf(execution)
  const clauses: Clause[] = []
  const told = new Set<Decision>()
  const ungoverned = actions.filter(({ inferred, on }) => inferred && !on.governed)
  // What nothing permitted comes first: it must not be what is left out.
  const governed = actions.filter(({ inferred, on }) => !inferred || on.governed)
  const decided = (action: Action): number => (joins.has(action) ? 1 : 0)
  for (const action of governed.sort((a, b) => decided(a) - decided(b))) {
    const joined = joins.get(action)
    const name = `Action ${quote(action.name ?? action.on.name)}`
    if (joined === undefined) {
      clauses.push(unknown(`${name}${of(action.on)}: no decision about it was recorded`, action.on))
      continue
    }
    told.add(joined.decision)
    clauses.push({
      text: `${name}${of(action.on)} ${outcomeText(action.outcome)}: ${decisionText(joined.decision)}${joinText(joined)}`,
      records: [action.leaf, joined.decision.leaf],
      basis: 'recorded',
      standing: together(tiers.of(action), tiers.of(joined.decision)),
    })
  }
  for (const decision of decisions)
    if (!told.has(decision))
      clauses.push(recorded(capital(decisionText(decision, askedFor(decision))), decision, execution))
  if (clauses.length === 0) clauses.push(unknown(`No policy decision was recorded${coverage(services)}`))
  if (ungoverned.length > 0)
    clauses.push({
      text: `${capital(count(ungoverned.length, 'span'))} with ordinary attributes of an action, about which no governance was recorded`,
      records: ungoverned.slice(0, MAX_RECORDS).map(({ leaf }) => leaf),
      basis: 'inferred',
      standing: tiers.lowest(ungoverned.map((action) => tiers.of(action))),
    })
  return clauses
}

/** Of an action and the decision on which it rests: the lower one, and where they differ both are told. */
function together(action: Standing, decision: Standing): Standing {
  if (action.text === decision.text) return action
  const { tier } = decision.tier < action.tier ? decision : action
  return { tier, text: `action ${action.text}; decision ${decision.text}` }
}

/** What a decision without an action in the evidence was about, as far as it says. */
function askedFor({ action, resourceType }: Decision): string {
  if (action === undefined) return 'something'
  return resourceType === undefined ? quote(action) : `${quote(action)} on ${word(resourceType)}`
}

/** `what` is what it decided about. */
function decisionText(decision: Decision, what = 'it'): string {
  const { engine, engineVersion, policyId, policyVersion, policyDigest, outcome, enforcement, errors } =
    decision
  const who =
    engine === undefined
      ? 'a policy engine'
      : `${word(engine)}${engineVersion === undefined ? '' : ` ${word(engineVersion)}`}`
  const version =
    policyVersion === undefined
      ? policyDigest === undefined
        ? undefined
        : short(policyDigest)
      : word(policyVersion)
  const policy =
    policyId === undefined && version === undefined
      ? 'by a policy that it did not name'
      : `by ${policyId === undefined ? 'a policy without a name' : `policy ${word(policyId)}`}${version === undefined ? ', whose version it did not tell,' : ` in version ${version}`}`
  const said: Readonly<Record<string, string>> = {
    allow: `allowed ${what}`,
    deny: `denied ${what}`,
    conditional: `allowed ${what} under conditions`,
    approval_required: `asked for an approval of ${what}`,
    transform: `allowed ${what} in a changed form`,
    not_applicable: `had no answer about ${what}`,
    error: `failed about ${what}`,
  }
  const notes = [
    ...(enforcement === 'dry_run' || enforcement === 'advisory' ? ['not enforced'] : []),
    ...(errors > 0 ? [`with ${count(errors, 'error')}`] : []),
    ...(decision.cached ? ['from a cache'] : []),
    ...(isOutside(decision.on) ? [`as ${word(decision.on.receiver)} says itself`] : []),
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

function howTrustPersisted(execution: Execution): Clause[] {
  const { authorizations, verifications, transitions, spans } = execution
  const lowest = (facts: readonly TieredFact[]): Standing | undefined => {
    const tiers = tiersOf(execution)
    return tiers.lowest(facts.map((fact) => tiers.of(fact)))
  }
  const clauses: Clause[] = []
  for (const transition of transitions) {
    const { type, from, to, trigger } = transition
    const change =
      from === undefined
        ? `became ${word(to ?? 'another')}`
        : `went from ${word(from)} to ${word(to ?? 'another')}`
    clauses.push(
      recorded(
        `${capital(word(type ?? 'something'))} ${change}${trigger === undefined ? '' : `, because of ${word(trigger)}`}`,
        transition,
        execution,
      ),
    )
  }
  const inherited = authorizations.filter((artifact) => artifact.inherited)
  if (inherited.length > 0)
    clauses.push({
      text: `The authorization was carried on to ${count(new Set(inherited.map(({ on }) => on)).size, 'span')}`,
      records: inherited.slice(0, MAX_RECORDS).map(({ leaf }) => leaf),
      basis: 'recorded',
      standing: lowest(inherited),
    })
  const passed = verifications.filter(({ outcome }) => outcome === 'pass')
  if (passed.length > 0)
    clauses.push({
      text: `${capital(count(passed.length, 'check'))} passed while it ran, the last at ${time(latest(passed))}`,
      records: passed.slice(-MAX_RECORDS).map(({ leaf }) => leaf),
      basis: 'recorded',
      standing: lowest(passed),
    })
  for (const check of verifications)
    if (check.outcome === 'fail')
      clauses.push(
        recorded(
          `A check of ${word(check.type ?? 'something')} failed at ${time(check.at)}${reason(check.reason)}`,
          check,
          execution,
        ),
      )
  for (const artifact of authorizations)
    if (artifact.status === 'revoked')
      clauses.push(recorded(`An artifact was revoked at ${time(artifact.at)}`, artifact, execution))
  if (clauses.length > 0) return clauses
  const governed = spans.find((node) => node.governed)
  return [unknown('Nothing was recorded about trust while it ran', governed)]
}

function wasContinuous(execution: Execution, judgement: Judgement, told: Told): Clause[] {
  const { erased } = execution
  const { results } = judgement
  const rank = (finding: Finding): number => SEVERITIES.indexOf(finding.severity)
  const findings = [...judgement.findings].sort((a, b) => rank(a) - rank(b))
  return [
    verdictClause(execution, judgement, told),
    ...findings.map(({ rule, severity, detail, subjects }) => ({
      text: `${rule} (${severity}, ${ruleOf(rule)?.title ?? 'unknown rule'}): ${oneLine(detail)}`,
      records: subjects,
      basis: 'recorded' as const,
      standing: tiersOf(execution).lowestOf(subjects.map((leaf) => ({ leaf }))),
    })),
    ...results
      .filter(({ missing }) => missing.length > 0)
      .map(({ rule, missing }) => unknown(`${rule} does not know ${oneLine(missing.join('; '))}`)),
    ...erased.map((segment) => unknown(`Something of segment ${segment} was erased or is withheld`)),
  ]
}

function verdictClause({ erased, services }: Execution, judgement: Judgement, told: Told): Clause {
  const { isRecomputed = true, seal, pendingFrom } = told
  const { results, findings } = judgement
  const rest =
    pendingFrom === undefined ? '' : `; segment ${pendingFrom} and what came after it are not judged yet`
  const state = continuityOf(judgement)
  const records = seal === undefined ? [] : [seal]
  const say = (text: string, basis: Clause['basis']): Clause => ({ text, records, basis })
  if (!isRecomputed)
    return say(
      `It was recorded as ${state} by rules that are not known here, and not judged again`,
      'unknown',
    )
  if (state === 'intact' && pendingFrom !== undefined)
    return say(`Nobody can say yet: nothing was found before${rest}`, 'unknown')
  if (state === 'intact')
    return say(`Yes, by the ${count(results.length, 'rule')} that had something to look at`, 'recorded')
  if (state === 'broken') {
    const serious = findings.filter(({ severity }) => severity !== 'low')
    return say(`No, by ${count(serious.length, 'finding')}${rest}`, 'recorded')
  }
  if (results.length === 0)
    return say(
      erased.length > 0
        ? 'Nobody can say: a part of the evidence was erased or is withheld, so that no rule can look at it'
        : `Nobody can say${coverage(services)}`,
      'unknown',
    )
  const missing = results.filter((one) => one.missing.length > 0)
  const found = findings.length === 0 ? 'Nothing was found' : 'Nothing but notes was found'
  return say(`${found}, and ${count(missing.length, 'rule')} could not tell${rest}`, 'unknown')
}

/** Why nothing may have been recorded. */
function coverage(services: Execution['services']): string {
  const bare = services.filter(({ covered }) => !covered)
  if (bare.length === 0) return ''
  const names = [...new Set(bare.map(({ name }) => name || 'a service without a name'))]
  return `, and nothing instruments ${several(names, ', ')} for it`
}

function recorded(text: string, fact: TieredFact, execution: Execution): Clause {
  return { text, records: [fact.leaf], basis: 'recorded', standing: tiersOf(execution).of(fact) }
}

function unknown(text: string, record?: { readonly leaf: Uint8Array }): Clause {
  return { text, records: record === undefined ? [] : [record.leaf], basis: 'unknown' }
}

function of(node: Node): string {
  return node.service.name === '' ? '' : ` of ${word(node.service.name)}`
}

function reason(code: string | undefined): string {
  return code === undefined ? '' : `: ${word(code)}`
}

function latest(facts: readonly { readonly at: bigint }[]): bigint {
  let last = 0n
  for (const { at } of facts) if (at > last) last = at
  return last
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
