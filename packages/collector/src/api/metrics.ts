/**
 * Metrics in the Prometheus text format (version 0.0.4), read from the board when they are asked for.
 *
 * Every name is documented in docs/operate/metrics.md, which a test holds against this list.
 */
import { ACK_BOUNDS, type Board, SEAL_BOUNDS, type Slot } from '../board.ts'

/** What the process has used since it started. */
export interface ProcessUse {
  readonly cpuSeconds: number
  /** Of the API's own thread; undefined where Node cannot tell. */
  readonly threadCpuSeconds: number | undefined
  readonly residentBytes: number
  readonly uptimeSeconds: number
}

/** What a scrape sees. */
export interface MetricSources {
  readonly board: Board
  readonly use: ProcessUse
  /** Milliseconds since 1970. */
  readonly now: number
  /** Size of the latest stored checkpoint. */
  readonly checkpointSize: number
  readonly version: string
}

type Type = 'counter' | 'gauge' | 'histogram'
type Sample = readonly [labels: string, value: number]

interface Metric {
  readonly name: string
  readonly type: Type
  readonly help: string
  /** Without a suffix in front of the labels but for histograms. */
  readonly read: (sources: MetricSources) => readonly Sample[]
}

/** The content type of {@link formatMetrics}. */
export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** All metrics, a help and a type line before each. */
export function formatMetrics(sources: MetricSources): string {
  let text = ''
  for (const { name, type, help, read } of METRICS) {
    const samples = read(sources)
    if (samples.length === 0) continue
    text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`
    for (const [labels, value] of samples) text += `${name}${labels} ${value}\n`
  }
  return text
}

function counter(name: string, help: string, slot: Slot): Metric {
  return { name, type: 'counter', help, read: ({ board }) => [['', board.get(slot)]] }
}

function gauge(name: string, help: string, slot: Slot): Metric {
  return { name, type: 'gauge', help, read: ({ board }) => [['', board.get(slot)]] }
}

/** One sample for each slot, told apart by a label. */
function family(
  name: string,
  type: Type,
  help: string,
  label: string,
  slots: readonly (readonly [value: string, slot: Slot])[],
): Metric {
  return {
    name,
    type,
    help,
    read: ({ board }) => slots.map(([value, slot]) => [`{${label}="${value}"}`, board.get(slot)]),
  }
}

function computed(
  name: string,
  type: Type,
  help: string,
  read: (sources: MetricSources) => number | undefined,
): Metric {
  return {
    name,
    type,
    help,
    read(sources) {
      const value = read(sources)
      return value === undefined ? [] : [['', value]]
    },
  }
}

/** Cumulative buckets, their count, and the sum where it is kept. */
function histogram(
  name: string,
  help: string,
  bounds: readonly number[],
  buckets: (board: Board) => readonly number[],
  sum: Slot | undefined,
): Metric {
  return {
    name,
    type: 'histogram',
    help,
    read({ board }) {
      const samples: Sample[] = []
      let count = 0
      for (const [at, more] of buckets(board).entries()) {
        count += more
        samples.push([`_bucket{le="${bounds[at] ?? '+Inf'}"}`, count])
      }
      if (sum !== undefined) samples.push(['_sum', board.get(sum)])
      samples.push(['_count', count])
      return samples
    },
  }
}

const lag = ({ board }: MetricSources): number =>
  Math.max(0, board.get('journal_durable_position') - board.get('followed_position'))

const ACCEPTED: readonly Slot[] = [
  'requests_accepted_traces',
  'requests_accepted_metrics',
  'requests_accepted_logs',
]

const REFUSALS = [
  ['malformed', 'requests_refused_malformed'],
  ['too_large', 'requests_refused_too_large'],
  ['unsupported', 'requests_refused_unsupported'],
  ['busy', 'requests_refused_busy'],
  ['unavailable', 'requests_refused_unavailable'],
  ['internal', 'requests_refused_internal'],
  ['protocol', 'requests_refused_protocol'],
  ['timeout', 'requests_refused_timeout'],
  ['not_found', 'requests_refused_not_found'],
  ['not_allowed', 'requests_refused_not_allowed'],
  ['unauthenticated', 'requests_refused_unauthenticated'],
] as const

const METRICS: readonly Metric[] = [
  {
    name: 'rootspan_build_info',
    type: 'gauge',
    help: 'Always 1; the label says which version runs.',
    read: ({ version }) => [[`{version="${version}"}`, 1]],
  },
  family('rootspan_ready', 'gauge', '1 when this part is ready.', 'part', [
    ['pipeline', 'pipeline_ready'],
    ['receivers', 'receivers_ready'],
  ]),

  family('rootspan_requests_accepted_total', 'counter', 'Requests accepted, by signal.', 'signal', [
    ['traces', 'requests_accepted_traces'],
    ['metrics', 'requests_accepted_metrics'],
    ['logs', 'requests_accepted_logs'],
  ]),
  family('rootspan_requests_refused_total', 'counter', 'Requests refused, by reason.', 'reason', REFUSALS),
  counter(
    'rootspan_requests_aborted_total',
    'Requests whose sender went away before they were complete, or while they waited.',
    'requests_aborted',
  ),
  counter(
    'rootspan_requests_delayed_total',
    'Requests that waited for the pipeline to catch up, whatever became of them.',
    'requests_delayed',
  ),
  counter(
    'rootspan_received_bytes_total',
    'Bytes of the bodies of accepted requests, decompressed.',
    'bytes_received',
  ),
  counter('rootspan_spans_accepted_total', 'Spans acknowledged as durable.', 'spans_accepted'),
  counter(
    'rootspan_spans_quarantined_total',
    'Bad spans in accepted requests, refused by partial success.',
    'spans_quarantined',
  ),
  family(
    'rootspan_log_records_total',
    'counter',
    'Log records by what became of them: those about governance are kept or refused, all others passed over.',
    'result',
    [
      ['accepted', 'log_records_accepted'],
      ['quarantined', 'log_records_quarantined'],
      ['passed_over', 'log_records_passed_over'],
    ],
  ),
  family(
    'rootspan_quarantine_dropped_total',
    'counter',
    'What quarantine had no room for or let go.',
    'what',
    [
      ['records', 'quarantine_records_dropped'],
      ['files', 'quarantine_files_dropped'],
    ],
  ),
  histogram(
    'rootspan_ack_seconds',
    'From a request read to its durable acknowledgement.',
    ACK_BOUNDS,
    (board) => board.ackBuckets(),
    'ack_seconds_sum',
  ),

  gauge('rootspan_journal_bytes', 'Size of the journal on disk.', 'journal_bytes'),
  counter(
    'rootspan_journal_appended_bytes_total',
    'Bytes appended to the journal.',
    'journal_appended_bytes',
  ),
  gauge(
    'rootspan_journal_durable_position',
    'The next position that is not durable.',
    'journal_durable_position',
  ),
  gauge('rootspan_journal_followed_position', 'The next position that is not read.', 'followed_position'),
  gauge('rootspan_journal_needed_position', 'The first position that is still needed.', 'needed_position'),
  computed('rootspan_journal_lag_requests', 'gauge', 'Durable requests that are not read yet.', lag),
  counter('rootspan_journal_followed_bytes_total', 'Bytes read back from the journal.', 'followed_bytes'),

  gauge('rootspan_open_spans', 'Spans of traces that have not settled.', 'open_spans'),
  gauge('rootspan_open_traces', 'Traces that have not settled.', 'open_traces'),
  gauge(
    'rootspan_reviews_pending',
    'Executions that will be judged again though nothing comes.',
    'reviews_pending',
  ),
  counter('rootspan_commits_total', 'Commits.', 'commits'),
  counter('rootspan_committed_segments_total', 'Segments committed.', 'committed_segments'),
  counter(
    'rootspan_reviewed_segments_total',
    'Segments without spans: executions judged again that came to something else.',
    'reviewed_segments',
  ),
  counter('rootspan_committed_spans_total', 'Spans committed.', 'committed_spans'),
  counter('rootspan_committed_leaves_total', 'Leaves committed.', 'committed_leaves'),
  counter(
    'rootspan_duplicate_spans_total',
    'Deliveries of a span that has its record already.',
    'duplicate_spans',
  ),
  family(
    'rootspan_executions_judged_total',
    'counter',
    'Judgements of executions; one that gets another segment is judged again.',
    'continuity',
    [
      ['unknown', 'judged_unknown'],
      ['intact', 'judged_intact'],
      ['broken', 'judged_broken'],
    ],
  ),
  {
    name: 'rootspan_findings_total',
    type: 'counter',
    help: 'Findings that the judgement before did not have.',
    read: ({ board }) =>
      board.findings().map(({ rule, severity, count }) => [`{rule="${rule}",severity="${severity}"}`, count]),
  },
  counter(
    'rootspan_pack_written_bytes_total',
    'Bytes of payload written to packs, compressed.',
    'pack_bytes',
  ),
  family('rootspan_pipeline_busy_seconds_total', 'counter', 'Time that the pipeline was at work.', 'stage', [
    ['follow', 'follow_seconds'],
    ['settle', 'settle_seconds'],
  ]),
  counter(
    'rootspan_judging_seconds_total',
    'CPU time, before Node 23.9 time, that the pipeline took to judge executions: models, contexts and rules.',
    'judge_seconds',
  ),

  gauge('rootspan_tree_size', 'Leaves that are committed.', 'tree_size'),
  computed(
    'rootspan_checkpoint_size',
    'gauge',
    'Leaves under the latest checkpoint.',
    (it) => it.checkpointSize,
  ),
  computed(
    'rootspan_unsigned_leaves',
    'gauge',
    'Leaves that are committed and not signed.',
    ({ board, checkpointSize }) => Math.max(0, board.get('tree_size') - checkpointSize),
  ),
  computed(
    'rootspan_checkpoint_timestamp_seconds',
    'gauge',
    'When this process last signed a checkpoint, in seconds since 1970.',
    ({ board }) => board.get('checkpoint_time') || undefined,
  ),
  histogram(
    'rootspan_settle_to_checkpoint_seconds',
    'From when the trace of a segment was due to the checkpoint that covers it.',
    SEAL_BOUNDS,
    (board) => board.sealBuckets(),
    'seal_seconds_sum',
  ),

  {
    name: 'rootspan_thread_cpu_seconds_total',
    type: 'counter',
    help: 'CPU time by thread.',
    read: ({ board, use }) => [
      ['{thread="main"}', board.get('cpu_seconds_main')],
      ['{thread="pipeline"}', board.get('cpu_seconds_pipeline')],
      ...(use.threadCpuSeconds === undefined ? [] : [['{thread="api"}', use.threadCpuSeconds] as const]),
    ],
  },
  computed('process_cpu_seconds_total', 'counter', 'CPU time of the process.', ({ use }) => use.cpuSeconds),
  computed('process_resident_memory_bytes', 'gauge', 'Resident memory.', ({ use }) => use.residentBytes),
  computed(
    'process_start_time_seconds',
    'gauge',
    'Start of the process, in seconds since 1970.',
    ({ now, use }) => Math.round(now / 1000 - use.uptimeSeconds),
  ),

  // What dashboards and alerts made for the OpenTelemetry Collector look for.
  family(
    'otelcol_receiver_accepted_spans_total',
    'counter',
    'As rootspan_spans_accepted_total.',
    'receiver',
    [['otlp', 'spans_accepted']],
  ),
  family(
    'otelcol_receiver_refused_spans_total',
    'counter',
    'As rootspan_spans_quarantined_total.',
    'receiver',
    [['otlp', 'spans_quarantined']],
  ),
  {
    name: 'otelcol_receiver_requests_total',
    type: 'counter',
    help: 'Requests of all signals by outcome; refused ones may be sent again.',
    read: ({ board }) => {
      const sum = (reasons: readonly Slot[]) => reasons.reduce((total, slot) => total + board.get(slot), 0)
      const retryable: readonly Slot[] = ['requests_refused_busy', 'requests_refused_unavailable']
      const failed = REFUSALS.map(([, slot]) => slot).filter((slot) => !retryable.includes(slot))
      return [
        ['{receiver="otlp",outcome="success"}', sum(ACCEPTED)],
        ['{receiver="otlp",outcome="refused"}', sum(retryable)],
        ['{receiver="otlp",outcome="failure"}', sum(failed)],
      ]
    },
  },
  computed(
    'otelcol_process_uptime_seconds_total',
    'counter',
    'Age of the process.',
    ({ use }) => use.uptimeSeconds,
  ),
  computed(
    'otelcol_process_cpu_seconds_total',
    'counter',
    'CPU time of the process.',
    ({ use }) => use.cpuSeconds,
  ),
  computed('otelcol_process_memory_rss_bytes', 'gauge', 'Resident memory.', ({ use }) => use.residentBytes),
]
