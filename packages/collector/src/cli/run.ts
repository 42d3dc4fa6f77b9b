/** `rootspan run`: the collector, from the first line to the last. */
import type { Command } from 'commander'
import type { Config } from '../config.ts'
import { nodeFiles } from '../files.ts'
import { createLogger, type Logger } from '../logger.ts'
import { checkConfiguredOrigin, type Identity, readLogFile } from '../origin.ts'
import { readVersion } from '../version.ts'
import { describeInit, initialise, systemWorld } from './init.ts'
import { colorsOf, type Io } from './io.ts'
import { addFlags, configOf, requireLog, type SharedOptions } from './settings.ts'

/** What the process gives to `run` beside streams and environment. */
export interface RunIo extends Io {
  /** Calls back at SIGTERM and SIGINT; returns how to stop that. */
  onSignal(listener: (signal: 'SIGTERM' | 'SIGINT') => void): () => void
  /** Ends the process at once. */
  exit(code: number): never
}

/** What the banner shows of a collector that runs. */
export interface Endpoints {
  readonly grpc?: string
  readonly http?: string
  readonly api?: string
}

/** Signals that come so close together are one: on a busy machine npm took 361 ms to hand one on. */
const SAME_SIGNAL_MILLIS = 1000

export function addRun(program: Command, io: RunIo): void {
  const command = program
    .command('run')
    .summary('run the collector')
    .description(
      'Runs the collector in the foreground until SIGTERM or SIGINT, which let it finish what it has; a second one, a second later or more, ends it at once, and what was acknowledged is taken up at the next start. Refuses without a log, which rootspan init makes.',
    )
    .option('--init', 'make a log first where there is none')
    .addHelpText(
      'after',
      '\nExamples:\n  $ rootspan run --init\n  $ rootspan run --config /etc/rootspan/rootspan.yaml\n  $ rootspan run --grpc 127.0.0.1:14317 --http 127.0.0.1:14318 --api 127.0.0.1:14320 --quiet-period 1s',
    )
  addFlags(command, 'config', 'data', 'signer', 'grpc', 'http', 'api', 'quietPeriod', 'logLevel').action(
    async (options: SharedOptions & { init?: boolean }) => {
      const { init, ...shared } = options
      const config = configOf(shared, io)
      const logger = createLogger(config.logs, io.stdout)
      const stop = listenForStop(config.shutdown.gracePeriod, logger, io)
      try {
        if (init === true) await initialiseFirst(config, logger, io)
        const identity = await requireLog(config, shared)
        checkConfiguredOrigin(identity, config.log.origin)
        await runCollector(config, identity, logger, io, stop.asked)
      } finally {
        stop.endListening()
      }
    },
  )
}

/** Makes a log where none is, and says so. */
async function initialiseFirst(config: Config, logger: Logger, io: Io): Promise<void> {
  if ((await readLogFile(nodeFiles, config.storage.directory)) !== undefined) return
  const made = await initialise(config, undefined, systemWorld())
  if (isForPeople(config, io)) io.stdout.write(`${describeInit(made, config, io)}\n`)
  else
    logger.info(
      {
        origin: made.identity.origin,
        verifierKey: made.identity.key,
        data: config.storage.directory,
        signer: config.signer.directory,
        newKey: made.isNewKey,
      },
      'made a new log',
    )
}

interface Stop {
  /** Resolves at the first signal. */
  readonly asked: Promise<void>
  endListening(): void
}

/** From before there is a log: a signal while the collector still starts stops it as soon as it has. */
function listenForStop(graceMillis: number, logger: Logger, io: RunIo): Stop {
  const stop = Promise.withResolvers<void>()
  let isStopping = false
  let stoppingSince = 0
  const endListening = io.onSignal((signal) => {
    // One Ctrl-C comes twice where npm hands on what the terminal has sent to both.
    if (isStopping && performance.now() - stoppingSince < SAME_SIGNAL_MILLIS) return
    if (isStopping) {
      logger.warn({ signal }, 'stopped at once')
      io.exit(signal === 'SIGINT' ? 130 : 143)
    }
    isStopping = true
    stoppingSince = performance.now()
    logger.info({ signal, graceMillis }, 'stopping')
    stop.resolve()
  })
  return { asked: stop.promise, endListening }
}

/** Until a stop is asked for, and what it has is finished. */
async function runCollector(
  config: Config,
  identity: Identity,
  logger: Logger,
  io: Io,
  stop: Promise<void>,
): Promise<void> {
  const { startCollector } = await import('../collector.ts')
  const collector = await startCollector(config, identity, logger)
  announce(plainEndpoints(collector.endpoints), config, identity, logger, io)
  // What goes wrong in closing is what `closed` rejects with.
  stop.then(() => collector.close()).catch(() => {})
  await collector.closed
  logger.info('stopped')
}

/** `host:port` of each, whether the collector says it with a scheme or without. */
function plainEndpoints(endpoints: Endpoints): Endpoints {
  return Object.fromEntries(
    Object.entries(endpoints).map(([name, endpoint]) => [name, endpoint.replace(/^https?:\/\//, '')]),
  )
}

function announce(endpoints: Endpoints, config: Config, identity: Identity, logger: Logger, io: Io): void {
  if (isForPeople(config, io)) io.stdout.write(formatBanner(endpoints, identity, io))
  else
    logger.info(
      {
        ...endpoints,
        origin: identity.origin,
        verifierKey: identity.key,
        tryIt: firstTraceCommand(endpoints),
      },
      'running',
    )
}

/** The welcome on a terminal. */
export function formatBanner(endpoints: Endpoints, identity: Identity, io: Io): string {
  const colors = colorsOf(io.stdout, io.env)
  const command = firstTraceCommand(endpoints)
  const rows = [
    ['OTLP/gRPC', endpoints.grpc ?? 'off'],
    ['OTLP/HTTP', endpoints.http === undefined ? 'off' : `http://${endpoints.http}`],
    ['API', endpoints.api === undefined ? 'off' : `http://${endpoints.api}`],
    ['origin', identity.origin],
    ['verifier key', identity.key],
  ] as const
  return [
    '',
    `${colors.bold(colors.green('Rootspan'))} ${colors.dim(readVersion())} is running`,
    ...rows.map(([name, value]) => `  ${colors.dim(name.padEnd(13))} ${value}`),
    '',
    ...(command === undefined
      ? []
      : ['Send a first trace and see it verified:', `  ${colors.cyan(command)}`, '']),
    '',
  ].join('\n')
}

/** The line to type in another terminal; undefined when a door that it needs is shut. */
export function firstTraceCommand({ http, api }: Endpoints): string | undefined {
  if (http === undefined || api === undefined) return undefined
  const flags = [
    ...(http === '127.0.0.1:4318' ? [] : [`--http ${http}`]),
    ...(api === '127.0.0.1:4320' ? [] : [`--api ${api}`]),
  ]
  if (!isFromSource) return ['npx rootspan first-trace', ...flags].join(' ')
  return ['npm run first-trace', ...(flags.length > 0 ? ['--', ...flags] : [])].join(' ')
}

/** In a clone of the repository nothing is compiled, so that npx finds no program. */
const isFromSource = import.meta.url.endsWith('.ts')

function isForPeople(config: Config, io: Io): boolean {
  return config.logs.format === 'pretty' || (config.logs.format === 'auto' && io.stdout.isTTY === true)
}
