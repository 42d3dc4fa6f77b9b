/** Attribute and event names that the core reads. The registry of all of them comes with the instrumentation. */

/** Everything in this namespace is governance: spans and events that carry it are looked at. */
export const NAMESPACE = 'governance.'

export const RECORD_KIND = 'governance.record.kind'
export const DECISION_ID = 'governance.decision.id'
export const DECISION_OUTCOME = 'governance.decision.outcome'
export const ACTION_NAME = 'governance.action.name'
export const ACTION_DIGEST = 'governance.action.digest'

/** Keys of the claims in records that the collector itself adds. */
export const Claim = {
  /** On the record of an event's fact, beside the event's own: so that no two records of one span are equal. */
  eventName: 'rootspan.event.name',
  seal: 'rootspan.seal',
  children: 'rootspan.adopted.children',
  joinMethod: 'rootspan.join.method',
  missingParents: 'rootspan.gap.parents',
  missingCount: 'rootspan.gap.count',
  lateCount: 'rootspan.late.count',
  rule: 'rootspan.finding.rule',
  result: 'rootspan.finding.result',
  severity: 'rootspan.finding.severity',
  detail: 'rootspan.finding.detail',
  erasureScope: 'rootspan.erasure.scope',
  erasureSelector: 'rootspan.erasure.selector',
  erasureKeys: 'rootspan.erasure.keys',
  erasureSpans: 'rootspan.erasure.spans',
  erasureClaims: 'rootspan.erasure.claims',
  erasureReason: 'rootspan.erasure.reason',
  erasureBy: 'rootspan.erasure.by',
  erasureAt: 'rootspan.erasure.at',
  holdState: 'rootspan.hold.state',
  holdSelector: 'rootspan.hold.selector',
  holdReason: 'rootspan.hold.reason',
  holdBy: 'rootspan.hold.by',
  holdAt: 'rootspan.hold.at',
} as const
