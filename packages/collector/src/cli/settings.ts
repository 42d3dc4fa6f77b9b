/** The flags that commands share, and the configuration that comes of them. */
import type { Command } from 'commander'
import { type Config, type ConfigFlags, loadConfig } from '../config.ts'
import { nodeFiles } from '../files.ts'
import { OperatorError } from '../operator-error.ts'
import { type Identity, readLogFile } from '../origin.ts'
import type { Io } from './io.ts'

/** Which of the shared flags a command has. */
export type SharedFlag = 'config' | keyof ConfigFlags

const FLAGS: Readonly<Record<SharedFlag, readonly [flags: string, description: string]>> = {
  config: ['-c, --config <file>', 'configuration file (YAML); without one, the defaults'],
  data: ['--data <directory>', 'data directory (storage.directory)'],
  signer: ['--signer <directory>', 'signer directory (signer.directory)'],
  grpc: ['--grpc <host:port>', 'OTLP/gRPC endpoint (receivers.grpc.endpoint)'],
  http: ['--http <host:port>', 'OTLP/HTTP endpoint (receivers.http.endpoint)'],
  api: ['--api <host:port>', 'HTTP API endpoint (api.endpoint)'],
  quietPeriod: ['--quiet-period <duration>', 'how long a trace is quiet before it settles'],
  logLevel: [
    '--log-level <level>',
    'trace, debug, info, warn, error, fatal or silent; debug shows stack traces',
  ],
}

export type SharedOptions = ConfigFlags & { readonly config?: string | undefined }

/** Adds shared flags to a command. */
export function addFlags(command: Command, ...names: readonly SharedFlag[]): Command {
  for (const name of names) command.option(...(FLAGS[name] as [string, string]))
  return command
}

/** The configuration of a command that has shared flags. */
export function configOf(options: SharedOptions, io: Io): Config {
  const { config: file, ...flags } = options
  return loadConfig({ file, flags, env: io.env })
}

/** The log of the data directory; an {@link OperatorError} that says what to run when there is none. */
export async function requireLog(config: Config, options: SharedOptions): Promise<Identity> {
  const identity = await readLogFile(nodeFiles, config.storage.directory)
  if (identity !== undefined) return identity
  throw new OperatorError(
    `there is no log in ${config.storage.directory} yet, and none is made by accident`,
    `Run: rootspan init${repeatFlags(options)}`,
    { exitCode: 2 },
  )
}

/** The flags that say where things are, to be typed again. */
export function repeatFlags(options: SharedOptions): string {
  return (['config', 'data', 'signer'] as const)
    .filter((name) => options[name] !== undefined)
    .map((name) => ` --${name} ${quote(options[name]!)}`)
    .join('')
}

function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
