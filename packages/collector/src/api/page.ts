/** The page at `/`: which log this is, what came in last, and what to do next. Plain HTML, no script. */
import { formatBase64 } from '@rootspan/lineage/bytes'
import { formatVerifierKey, type VerifierKey } from '@rootspan/lineage/tlog/key'
import type { ExecutionSummary } from './executions.ts'
import type { Published } from './published.ts'

export const PAGE_STYLE = `
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
code, pre { font: 14px/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
pre { background: #f4f4f5; padding: .75rem 1rem; overflow-x: auto }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem } dt { color: #555 } dd { margin: 0 }
table { border-collapse: collapse; width: 100% } th { text-align: left; font-weight: 600 }
th, td { padding: .3rem .75rem .3rem 0; border-bottom: 1px solid #e4e4e7; vertical-align: top }
@media (prefers-color-scheme: dark) {
  body { color: #e4e4e7; background: #18181b } pre { background: #27272a } th, td { border-color: #3f3f46 }
  dt { color: #a1a1aa } a { color: #93c5fd }
}
`

export interface PageContent {
  /** Where the reader reached this page, e.g. `http://127.0.0.1:4320`. */
  readonly origin: string
  readonly key: VerifierKey
  readonly version: string
  readonly latest: Published | undefined
  /** The newest ones. */
  readonly executions: readonly ExecutionSummary[]
}

export function formatPage({ origin, key, version, latest, executions }: PageContent): string {
  const here = escapeHtml(origin)
  const trace = executions.find((one) => one.signedSegments > 0)?.traceId ?? 'TRACE_ID'
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(key.name)}</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<h1>Rootspan</h1>
<dl>
<dt>Log</dt><dd><code>${escapeHtml(key.name)}</code></dd>
<dt>Verifier key</dt><dd><code>${escapeHtml(formatVerifierKey(key))}</code></dd>
<dt>Signed records</dt><dd>${latest === undefined ? 'none yet' : latest.size}</dd>
${latest === undefined ? '' : `<dt>Root</dt><dd><code>${formatBase64(latest.root)}</code></dd>\n`}<dt>Version</dt><dd>${escapeHtml(version)}</dd>
</dl>
<h2>Newest executions</h2>
${executions.length === 0 ? EMPTY : formatTable(executions)}
<h2>Verify one</h2>
<p>Download its evidence and check it offline. The policy here is this log's own word: compare its key with one that
you got another way.</p>
<pre>curl -fsS ${here}/log/policy -o policy
curl -fsS ${here}/api/v1/executions/${trace}/evidence -o ${trace}.rootspan
npx @rootspan/verifier verify ${trace}.rootspan --policy policy</pre>
<p>Audit the whole log: <code>npx @rootspan/verifier audit ${here}/log --policy policy</code></p>
<h2>More</h2>
<ul>
<li><a href="/log/checkpoint">Checkpoint</a>, <a href="/log/checkpoints">kept checkpoints</a> and <a href="/log/policy">policy</a></li>
<li><a href="/api/v1/executions">Executions</a> as JSON; the <a href="/openapi.json">OpenAPI description</a> lists the rest</li>
<li><a href="/health/ready">Health</a> and <a href="/metrics">metrics</a></li>
</ul>
</body>
</html>
`
}

const EMPTY = `<p>None is committed yet. Point an OpenTelemetry SDK here and send a trace:</p>
<pre>export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318</pre>
<p>It appears when its trace has been quiet for a while.</p>`

function formatTable(executions: readonly ExecutionSummary[]): string {
  const rows = executions.map((one) => {
    const path = `/api/v1/executions/${one.traceId}`
    const evidence =
      one.signedSegments === 0 ? 'not signed yet' : `<a href="${path}/evidence" download>evidence</a>`
    return `<tr><td>${formatTime(one.startTimeUnixNano)}</td><td>${escapeHtml(one.name)}</td><td>${escapeHtml(one.services.join(', '))}</td><td>${one.spans}</td><td><a href="${path}"><code>${one.traceId}</code></a></td><td>${evidence}</td></tr>`
  })
  return `<table>
<thead><tr><th>Started</th><th>First span</th><th>Services</th><th>Spans</th><th>Trace</th><th></th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table>`
}

/** A time in UTC, to the millisecond; as a number where no calendar holds it. */
function formatTime(nanos: string): string {
  const date = new Date(Number(BigInt(nanos) / 1_000_000n))
  return Number.isNaN(date.getTime()) ? nanos : `<time>${date.toISOString()}</time>`
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`)
}
