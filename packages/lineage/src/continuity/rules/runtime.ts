/** GC-R01, R02, R03, R05, R07: the states that an execution says it is in, and the life of a process. */
import { formatHex } from '../../bytes.ts'
import { type Execution, type Node, SKEW } from '../model.ts'
import type { Report, Rule } from '../rule.ts'
import {
  HELD,
  isState,
  mayFollow,
  type StateChange,
  stateBefore,
  statesOf,
  TERMINAL,
  toleranceOf,
} from '../state.ts'

/** An execution that said nothing more for so long has an open end: nanoseconds. */
const TIME_TO_END = 900_000_000_000n

/** The gate says that one action begins, not that the execution goes on. */
const GATE = 'gate'

/** Signs of life come at intervals of a minute or more; after three of them without one a process is silent. */
const SHORTEST_BEAT = 60_000_000_000n
const BEATS_TO_SILENCE = 3n
const HELLO = 'governance.hello'
const HEARTBEAT = 'governance.heartbeat'
const GOODBYE = 'governance.goodbye'

const openEnd: Rule = {
  id: 'GC-R01',
  version: 2,
  title: 'open end',
  severity: 'high',
  scope: 'local',
  looksAt:
    'Executions that say in which state they are, and whose last state, 15 minutes old, is none that ends: neither completed, refused, failed, aborted, revoked, expired nor abandoned. Processes whose signs of life stopped without a goodbye: a medium finding.',
  guards: [
    'Executions that say nothing of their state are left out, and so are the intents of the gate.',
    'Unknown before the 15 minutes are over, and where a segment was erased. The collector judges again when they are.',
    'A process is silent three intervals after its last sign of life, and three minutes at least: the interval that it says, or the longest between two signs; it may have ended at once, without its handlers, or lost its collector. One that sends no heartbeats is left out.',
  ],
  remedy:
    'Find out what became of it, and let whatever ends it say so; `withExecution` does, and a process that ends by SIGTERM or by itself.',
  evaluate(execution, report) {
    judgeLife(execution, report)
    for (const timeline of statesOf(execution).timelines) {
      const own = timeline.filter(({ transition }) => transition?.trigger !== GATE)
      const last = own.at(-1)
      if (last === undefined) continue
      if (TERMINAL.has(last.state)) report.pass()
      else if (execution.erased.length > 0) report.unknown('what was erased of the execution')
      else if (execution.evaluatedAt - last.at > TIME_TO_END)
        report.fail([last.subject], `span ${last.on.id} said last that it is ${last.state}`)
      else report.unknown(`how the execution ends: it is ${last.state}`, last.at + TIME_TO_END + 1n)
    }
  },
}

/** Whether the process whose signs of life these are has said goodbye, or may still live. Their trace has its id. */
function judgeLife({ spans, traceId, evaluatedAt, erased }: Execution, report: Report): void {
  const id = formatHex(traceId)
  const signs = spans.filter(
    ({ name, emitter }) => emitter?.id === id && (name === HELLO || name === HEARTBEAT || name === GOODBYE),
  )
  if (signs.length === 0) return
  if (signs.some(({ name }) => name === GOODBYE)) {
    report.pass()
    return
  }
  signs.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : a.place - b.place))
  const last = signs.at(-1)!
  const { interval } = last.emitter!
  // Of old instrumentations a heartbeat says that there are any.
  if (interval === undefined ? last.name !== HEARTBEAT : interval <= 0) return
  const said = BigInt(interval ?? 0) * 1_000_000n
  let beat = said > SHORTEST_BEAT ? said : SHORTEST_BEAT
  for (const [at, sign] of signs.entries()) {
    const before = signs[at - 1]
    if (before !== undefined && sign.start - before.start > beat) beat = sign.start - before.start
  }
  const silentAt = last.start + BEATS_TO_SILENCE * beat
  if (evaluatedAt <= silentAt) report.unknown(`whether emitter ${id} still lives`, silentAt + 1n)
  else if (erased.length > 0) report.unknown('what was erased of the execution')
  else report.fail([last], `emitter ${id} gave no sign of life any more, and said no goodbye`, 'medium')
}

const illegal: Rule = {
  id: 'GC-R02',
  version: 1,
  title: 'illegal transition',
  severity: 'high',
  scope: 'local',
  looksAt: 'Transitions of state from one state to another that may not follow it.',
  guards: [
    'Transitions that do not say from where are left out.',
    'Unknown for states that the state machine does not have.',
    'A human may override anything that is not sealed.',
  ],
  remedy: 'Find out who changed the state past the checks that belong between the two.',
  evaluate({ transitions }, report) {
    for (const transition of transitions) {
      const { type, from, to, on } = transition
      if (type !== 'state' || from === undefined || to === undefined) continue
      if (!isState(from) || !isState(to)) report.unknown(`what a state means that span ${on.id} names`)
      else if (mayFollow(from, to)) report.pass()
      else report.fail([transition], `span ${on.id} goes from ${from} to ${to}`)
    }
  },
}

interface ActionInState {
  readonly node: Node
  readonly last: StateChange
  readonly next: StateChange | undefined
}

/** Actions that ran, each with the state that its part of the execution was certainly in when it began. */
function actionsInState(execution: Execution): readonly ActionInState[] {
  const found: ActionInState[] = []
  const states = statesOf(execution)
  if (states.timelines.length === 0) return found
  for (const { on: node, outcome, inferred } of execution.actions) {
    if (outcome === 'refused' || (inferred && !node.governed)) continue
    const timeline = states.of(node)
    const state = timeline && stateBefore(timeline, node, node.start)
    if (state !== undefined) found.push({ node, ...state })
  }
  return found
}

const afterEnd: Rule = {
  id: 'GC-R03',
  version: 1,
  title: 'activity after the end',
  severity: 'critical',
  scope: 'local',
  looksAt:
    'Actions that began after their execution was completed, refused, failed, aborted, revoked or expired.',
  guards: [
    'Refused actions and those that nobody marked are left out.',
    'Clocks of different processes may differ by two seconds.',
    'After an end that only the attribute of the first span tells it is a medium finding: work that was not waited for.',
  ],
  remedy: 'Stop what still runs when an execution ends, and wait for what belongs to it.',
  evaluate(execution, report) {
    for (const { node, last } of actionsInState(execution))
      if (TERMINAL.has(last.state))
        report.fail(
          [node, last.subject],
          `the action of span ${node.id} began after the execution was ${last.state}`,
          last.transition === undefined ? 'medium' : undefined,
        )
      else report.pass()
  },
}

const whileHeld: Rule = {
  id: 'GC-R05',
  version: 1,
  title: 'ran while held',
  severity: 'critical',
  scope: 'local',
  looksAt: 'Actions that began while their execution was suspended or awaited an approval.',
  guards: [
    'Refused actions and those that nobody marked are left out, and those that ran already.',
    'Clocks of different processes may differ by two seconds, at the beginning of the hold and at its end.',
  ],
  remedy: 'Ask for the state of the execution before each action, and refuse while it is held.',
  evaluate(execution, report) {
    for (const { node, last, next } of actionsInState(execution)) {
      if (!HELD.has(last.state)) report.pass()
      else if (next === undefined || next.at - node.start > toleranceOf(next.on, node))
        report.fail([node, last.subject], `the action of span ${node.id} began in state ${last.state}`)
    }
  },
}

/** After so long something must have been verified again: nanoseconds. */
const REVERIFY = 3_600_000_000_000n

const lapsed: Rule = {
  id: 'GC-R07',
  version: 1,
  title: 'verification lapsed',
  severity: 'medium',
  scope: 'local',
  looksAt: 'Actions that began over an hour after an artifact was last verified in their execution.',
  guards: [
    'Artifacts that are only repeated on later spans were not verified again by that.',
    'Where nothing was verified at all there is nothing to lapse: GC-A01 and GC-A02 say so.',
    'Unknown where a segment was erased.',
  ],
  remedy: 'Verify the artifact, or ask its issuer, again during long executions.',
  evaluate(execution, report) {
    if (execution.actions.length === 0) return
    const times: bigint[] = []
    for (const { verification, inherited, at } of execution.authorizations)
      if (verification === 'verified' && !inherited) times.push(at)
    for (const { type, outcome, at } of execution.verifications)
      if (outcome === 'pass' && (type === 'credential' || type === 'revocation' || type === 'approval'))
        times.push(at)
    if (times.length === 0) return
    times.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
    const actions = execution.actions.filter(({ on, outcome }) => on.governed && outcome !== 'refused')
    actions.sort((a, b) =>
      a.on.start < b.on.start ? -1 : a.on.start > b.on.start ? 1 : a.on.place - b.on.place,
    )
    let next = 0
    for (const { on } of actions) {
      while (next < times.length && times[next]! <= on.start + SKEW) next++
      const last = times[next - 1]
      if (last === undefined) continue
      if (on.start - last <= REVERIFY) report.pass()
      else if (execution.erased.length > 0) report.unknown('what was verified in a segment that was erased')
      else report.fail([on], `nothing was verified in the hour before the action of span ${on.id}`)
    }
  },
}

export const RUNTIME: readonly Rule[] = [openEnd, illegal, afterEnd, whileHeld, lapsed]
