/** Findings as SARIF 2.1.0 (docs.oasis-open.org/sarif/sarif/v2.1.0), for tools that collect results of checks. */
import type { Severity } from '@rootspan/lineage/continuity/rule'
import { RULES } from '@rootspan/lineage/continuity/ruleset'
import type { FindingSummary } from '../api/findings.ts'
import { readVersion } from '../version.ts'

const LEVELS: Readonly<Record<Severity, 'error' | 'warning' | 'note'>> = {
  critical: 'error',
  high: 'error',
  medium: 'warning',
  low: 'note',
}

/** One run. A result's logical locations are its spans, each as `trace id/span id`. */
export function sarifOf(findings: readonly FindingSummary[]): object {
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: { driver: { name: 'rootspan', version: readVersion(), rules: RULES.map(ruleOf) } },
        results: findings.map(resultOf),
      },
    ],
  }
}

function ruleOf({
  id,
  title,
  severity,
  scope,
  version,
  looksAt,
  guards,
  remedy,
}: (typeof RULES)[number]): object {
  return {
    id,
    shortDescription: { text: title },
    fullDescription: { text: looksAt },
    help: { text: [remedy, ...guards].join('\n') },
    defaultConfiguration: { level: LEVELS[severity] },
    properties: { severity, scope, version },
  }
}

function resultOf(finding: FindingSummary): object {
  const { rule, severity, detail, traceId, subjects, signed, services, startTimeUnixNano } = finding
  const ruleIndex = RULES.findIndex(({ id }) => id === rule)
  const spans = [...new Set(subjects.flatMap(({ spanId }) => (spanId === undefined ? [] : [spanId])))]
  const places = spans.length === 0 ? [traceId] : spans.map((span) => `${traceId}/${span}`)
  return {
    ruleId: rule,
    ...(ruleIndex >= 0 && { ruleIndex }),
    level: LEVELS[severity],
    message: { text: detail },
    locations: places.map((fullyQualifiedName) => ({
      logicalLocations: [{ fullyQualifiedName, kind: spans.length === 0 ? 'trace' : 'span' }],
    })),
    partialFingerprints: { 'finding/v0': `${rule}/${traceId}/${subjects[0]?.leafHash ?? ''}` },
    properties: { severity, services, signed, startTimeUnixNano, subjects },
  }
}
