/**
 * `rootspan first-trace`: one small trace into a running collector, and its evidence back, verified.
 *
 * It does what a service and an auditor do, with nothing but HTTP: OTLP/JSON in, evidence bundle out, verification
 * in this process. Only the policy comes from the collector itself, and it says so.
 */
import { randomBytes } from 'node:crypto'
import { formatHex } from '@rootspan/lineage/bytes'
import { Kind } from '@rootspan/lineage/governance/kind'
import { parsePolicy } from '@rootspan/lineage/tlog/policy'
import { type ExecutionNode, type VerifiedExecution, verify } from '@rootspan/lineage/verify'
import type { Command } from 'commander'
import { formatEndpoint } from '../config-units.ts'
import { OperatorError } from '../operator-error.ts'
import { type Colors, colorsOf, type Io } from './io.ts'
import { addFlags, configOf, type SharedOptions } from './settings.ts'

/** What it needs of the world, beside the streams. */
interface FirstTraceWorld {
  readonly fetch: typeof fetch
  readonly random: (size: number) => Uint8Array
  /** Nanoseconds since 1970. */
  readonly now: () => bigint
  readonly sleep: (millis: number) => Promise<void>
}

const POLL_MILLIS = 250

/** In a clone of the repository npx would ask the registry for a package of that name. */
const verifier = import.meta.url.endsWith('.ts') ? 'npm run -s rootspan-verify --' : 'npx rootspan-verify'

export function addFirstTrace(program: Command, io: Io): void {
  const command = program
    .command('first-trace')
    .summary('send a small trace to a running collector and see it verified')
    .description(
      'Sends a trace of three spans by OTLP/HTTP, waits until it is in the log and under a signed checkpoint, downloads its evidence and verifies it here.',
    )
    .option('--timeout <seconds>', 'how long to wait for the evidence', '90')
    .addHelpText(
      'after',
      '\nExamples:\n  $ rootspan first-trace\n  $ rootspan first-trace --http 127.0.0.1:14318 --api 127.0.0.1:14320',
    )
  addFlags(command, 'config', 'http', 'api', 'logLevel').action(
    async (options: SharedOptions & { timeout: string }) => {
      const { timeout, ...shared } = options
      const seconds = Number(timeout)
      if (!(seconds > 0))
        throw new OperatorError('--timeout is not a number of seconds', 'Try --timeout 90.', { exitCode: 2 })
      const { receivers, api } = configOf(shared, io)
      const urls = {
        otlp: `http://${formatEndpoint(receivers.http.endpoint)}`,
        api: `http://${formatEndpoint(api.endpoint)}`,
      }
      await sendFirstTrace(urls, seconds * 1000, io, {
        fetch,
        random: (size) => new Uint8Array(randomBytes(size)),
        now: () => BigInt(Date.now()) * 1_000_000n,
        sleep: (millis) => new Promise((resolve) => setTimeout(resolve, millis)),
      })
    },
  )
}

/** Sends, waits, verifies and tells. Rejects with an {@link OperatorError}, or a VerificationError. */
async function sendFirstTrace(
  urls: { readonly otlp: string; readonly api: string },
  timeoutMillis: number,
  io: Io,
  world: FirstTraceWorld,
): Promise<VerifiedExecution> {
  const colors = colorsOf(io.stdout, io.env)
  const traceId = formatHex(world.random(16))
  const sent = await ask(world, `${urls.otlp}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'rootspan-receipt': '1' },
    body: JSON.stringify(buildTrace(traceId, world)),
  })
  const position = sent.headers.get('rootspan-receipt')
  io.stdout.write(
    `${colors.green('sent')}      3 spans of trace ${traceId}${position === null ? '' : `, durable at journal position ${position}`}\n`,
  )
  io.stdout.write(
    `${colors.dim('waiting   until the trace is quiet, committed and under a signed checkpoint')}\n`,
  )
  const evidence = await waitForEvidence(
    `${urls.api}/api/v1/executions/${traceId}/evidence`,
    timeoutMillis,
    world,
  )
  const policyText = await (await ask(world, `${urls.api}/log/policy`)).text()
  const execution = verify(evidence, parsePolicy(policyText))
  io.stdout.write(formatExecution(execution, evidence.length, colors))
  const download = `curl -o trace.rootspan ${urls.api}/api/v1/executions/${traceId}/evidence`
  io.stdout.write(
    [
      '',
      `${colors.yellow('note')}      the policy came from ${urls.api}/log/policy: the collector's own word for its own key.`,
      '          An auditor has the key from somewhere else, and checks the file offline:',
      `            ${download}`,
      `            ${verifier} verify trace.rootspan --policy auditors-own-policy.txt`,
      '',
    ].join('\n'),
  )
  return execution
}

/** An ExportTraceServiceRequest in OTLP/JSON: a refund, authorized, permitted by a policy, and done. */
function buildTrace(traceId: string, { random, now }: Pick<FirstTraceWorld, 'random' | 'now'>): object {
  const [request, decision, action] = [0, 1, 2].map(() => formatHex(random(8)))
  const end = now()
  const at = (millisBefore: number): string => String(end - BigInt(millisBefore) * 1_000_000n)
  const decisionId = `decision-${formatHex(random(4))}`
  const span = (fields: object, attributes: Readonly<Record<string, string>>): object => ({
    traceId,
    flags: 0x101,
    status: { code: 1 },
    ...fields,
    attributes: Object.entries(attributes).map(([key, value]) => ({ key, value: { stringValue: value } })),
  })
  const service = (name: string, ...spans: object[]): object => ({
    resource: { attributes: [{ key: 'service.name', value: { stringValue: name } }] },
    scopeSpans: [{ scope: { name: 'rootspan first-trace' }, spans }],
  })
  return {
    resourceSpans: [
      service(
        'refund-desk',
        span(
          {
            spanId: request,
            name: 'POST /refunds',
            kind: 2,
            startTimeUnixNano: at(48),
            endTimeUnixNano: at(1),
          },
          {
            'http.request.method': 'POST',
            'http.route': '/refunds',
            'governance.execution.id': `refund-${formatHex(random(4))}`,
            'governance.execution.kind': 'request',
            'governance.authorization.id': `token-${formatHex(random(4))}`,
            'governance.authorization.type': 'oauth2_access_token',
            'governance.authorization.issuer': 'https://login.example.com',
            'governance.authorization.scope': 'refunds:create',
            'governance.authorization.verification': 'verified',
          },
        ),
        span(
          {
            spanId: action,
            parentSpanId: request,
            name: 'POST /payments/refund',
            kind: 3,
            startTimeUnixNano: at(30),
            endTimeUnixNano: at(3),
          },
          {
            'http.request.method': 'POST',
            'server.address': 'payments.example.com',
            'governance.action.name': 'payments.refund',
            'governance.action.type': 'transfer',
            'governance.action.outcome': 'success',
            'governance.decision.id': decisionId,
          },
        ),
      ),
      service(
        'policy-engine',
        span(
          {
            spanId: decision,
            parentSpanId: request,
            name: 'evaluate refunds/allow',
            kind: 1,
            startTimeUnixNano: at(44),
            endTimeUnixNano: at(36),
          },
          {
            'governance.decision.id': decisionId,
            'governance.decision.outcome': 'allow',
            'governance.decision.enforcement': 'enforced',
            'governance.decision.engine.name': 'opa',
            'governance.policy.id': 'refunds',
            'governance.policy.version': '7',
          },
        ),
      ),
    ],
  }
}

/** What was verified: the tree of records, and the verdict on its four axes. */
function formatExecution(execution: VerifiedExecution, size: number, colors: Colors): string {
  const { checkpoint, records, verdict, notChecked, signedBy } = execution
  const lines = [
    `${colors.green('verified')}  ${records.length} records in ${size.toLocaleString('en')} bytes of evidence, signed by ${signedBy.join(', ')}`,
    `          under the checkpoint of ${checkpoint.size} leaves`,
    '',
  ]
  const draw = (node: ExecutionNode, prefix: string, branch: string, indent: string): void => {
    const { span, entry, index } = node.record
    lines.push(
      `${prefix}${branch}${colors.bold(span?.name ?? formatHex(entry.spanId))} ${colors.dim(`${kindName(entry.kind)}, leaf ${index}`)}`,
    )
    const below = [
      ...node.facts.map((fact) => ({ fact, child: undefined })),
      ...node.children.map((child) => ({ fact: undefined, child })),
    ]
    for (const [at, { fact, child }] of below.entries()) {
      const [next, rest] = at === below.length - 1 ? ['└─ ', '   '] : ['├─ ', '│  ']
      if (child !== undefined) draw(child, prefix + indent, next, rest)
      else if (fact !== undefined)
        lines.push(
          `${prefix}${indent}${next}${colors.cyan(kindName(fact.entry.kind))} ${colors.dim(`leaf ${fact.index}`)}`,
        )
    }
  }
  for (const root of execution.roots) draw(root, '  ', '', '')
  lines.push('')
  for (const [axis, { state, ...rest }] of Object.entries(verdict)) {
    const detail = 'detail' in rest ? rest.detail.join('; ') : ''
    lines.push(`  ${axis.padEnd(13)} ${state}${detail === '' ? '' : colors.dim(`  ${detail}`)}`)
  }
  for (const part of notChecked) lines.push(`  ${colors.dim(`not checked   ${part}`)}`)
  return `${lines.join('\n')}\n`
}

/** Asks until the evidence is there. The trace is not known, or not signed yet, for some seconds. */
async function waitForEvidence(
  url: string,
  timeoutMillis: number,
  world: FirstTraceWorld,
): Promise<Uint8Array> {
  for (let waited = 0; waited <= timeoutMillis; waited += POLL_MILLIS) {
    await world.sleep(POLL_MILLIS)
    const response = await ask(world, url, {}, [404, 409, 503])
    if (response.ok) return new Uint8Array(await response.arrayBuffer())
    await response.body?.cancel()
  }
  throw new OperatorError(
    `there was no evidence at ${url} after ${timeoutMillis / 1000} s`,
    'A trace settles after assembler.quiet_period; look at the messages of the collector, or try a longer --timeout.',
  )
}

/** A response that is fine, or has one of the statuses that the caller understands. */
async function ask(
  { fetch }: FirstTraceWorld,
  url: string,
  init: RequestInit = {},
  understood: readonly number[] = [],
): Promise<Response> {
  let response: Response
  try {
    response = await fetch(url, { ...init, signal: AbortSignal.timeout(30_000) })
  } catch (error) {
    throw new OperatorError(
      `nobody answers at ${url}`,
      'Start the collector with rootspan run, or say where it is with --http and --api.',
      { cause: error },
    )
  }
  if (response.ok || understood.includes(response.status)) return response
  const body = (await response.text()).trim().slice(0, 300)
  throw new OperatorError(
    `${url} answered ${response.status}${body === '' ? '' : `: ${body}`}`,
    'Look at the messages of the collector.',
  )
}

function kindName(kind: Kind): string {
  return Object.entries(Kind).find(([, value]) => value === kind)?.[0] ?? String(kind)
}
