/** `rootspan init`: makes a log. */
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { formatHex } from '@rootspan/lineage/bytes'
import { formatVerifierKey, parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { formatPolicy, policyOfLogs } from '@rootspan/lineage/tlog/policy'
import type { Command } from 'commander'
import type { Config } from '../config.ts'
import { type Files, hasCode, nodeFiles } from '../files.ts'
import { OperatorError } from '../operator-error.ts'
import { findOriginProblem, type Identity, LOG_FILE, readLogFile, writeLogFile } from '../origin.ts'
import { createMemory, readMemory } from '../signer.ts'
import {
  createSigningKey,
  KEY_FILE,
  readSigningKey,
  type SigningKey,
  writeSigningKey,
} from '../signing-key.ts'
import { openDatabase } from '../store/log-store.ts'
import { colorsOf, type Io } from './io.ts'
import { addFlags, configOf, repeatFlags, type SharedOptions } from './settings.ts'

/** What `init` needs of the world. */
export interface InitWorld {
  readonly files: Files
  /** Secret random bytes. */
  readonly random: (size: number) => Uint8Array
  readonly now: () => Date
  readonly hostname: string
}

/** A log that was made. */
export interface Initialised {
  readonly identity: Identity
  /** Whether the private key was made, too, and not found. */
  readonly isNewKey: boolean
}

export function addInit(program: Command, io: Io): void {
  const command = program
    .command('init')
    .summary('make a new log: data directory, private key and name')
    .description(
      'Makes a new log: the data directory, the signer directory with a fresh Ed25519 key unless one is there, and log.json, which names the log. Done once; refuses where a log is.',
    )
    .option('--origin <name>', 'name of the log: a URL without a scheme that ends in /v0')
    .addHelpText(
      'after',
      '\nExamples:\n  $ rootspan init\n  $ rootspan init --origin logs.example.com/prod/v0 --data /var/lib/rootspan --signer /etc/rootspan/signer',
    )
  addFlags(command, 'config', 'data', 'signer', 'logLevel').action(
    async (options: SharedOptions & { origin?: string }) => {
      const { origin, ...shared } = options
      const config = configOf(shared, io)
      const made = await initialise(config, origin, systemWorld())
      io.stdout.write(describeInit(made, config, io))
      io.stdout.write(`\nStart the collector with: rootspan run${repeatFlags(shared)}\n`)
    },
  )
}

export function systemWorld(): InitWorld {
  return {
    files: nodeFiles,
    random: (size) => new Uint8Array(randomBytes(size)),
    now: () => new Date(),
    hostname: hostname(),
  }
}

/**
 * Makes a log. `origin` is what the operator asked for, if anything.
 *
 * Order: private key, signer's memory (of the empty tree), database, and `log.json` last, with which the log exists.
 * A crash before it leaves what a second attempt takes up. Throws an {@link OperatorError} where a log is, where
 * the data directory holds something else, and where the key has signed a log already.
 */
export async function initialise(
  config: Config,
  origin: string | undefined,
  world: InitWorld,
): Promise<Initialised> {
  const { files } = world
  const data = config.storage.directory
  const signer = config.signer.directory
  await checkNoLog(files, data)
  const found = await readSigningKey(files, signer)
  const name = chooseOrigin(found, origin ?? config.log.origin, signer, world)
  const key = found ?? createSigningKey(name, world.random(32))
  const memory = found === undefined ? undefined : await readMemory(files, signer, found)
  if (memory !== undefined && memory.size > 0)
    throw new OperatorError(
      `the signer in ${signer} has signed ${memory.size} leaves of ${name}, whose data is not in ${data}`,
      `Put the data of that log back, or point --signer at a new directory to begin another log.`,
    )

  await makeDirectory(files, signer)
  if (found === undefined) await writeSigningKey(files, signer, key)
  if (memory === undefined) await createMemory(files, signer, key)
  await makeDirectory(files, data)
  await createDatabase(files, data)
  const identity = { origin: name, key: formatVerifierKey(key.verifier), created: world.now().toJSON() }
  await writeLogFile(files, data, identity)
  return { identity, isNewKey: found === undefined }
}

/** What was made, for people. */
export function describeInit({ identity, isNewKey }: Initialised, config: Config, io: Io): string {
  const colors = colorsOf(io.stdout, io.env)
  const signer = config.signer.directory
  const policy = formatPolicy(policyOfLogs(parseVerifierKey(identity.key)))
  return [
    `${colors.green('Made a new log')} ${colors.bold(identity.origin)}`,
    `  data          ${config.storage.directory}`,
    `  signer        ${signer}: ${isNewKey ? 'a fresh private key' : 'with the private key that was there'} in ${join(signer, KEY_FILE)}, and the memory of what it signs`,
    `  verifier key  ${identity.key}`,
    '',
    'Give auditors this policy, on a way that they trust; it is what they verify with:',
    ...policy
      .trimEnd()
      .split('\n')
      .map((line) => `  ${line}`),
    '',
    `Keep a copy of the private key in a safe place, and never copy ${signer} back together with the data.`,
    '',
  ].join('\n')
}

async function checkNoLog(files: Files, data: string): Promise<void> {
  const identity = await readLogFile(files, data)
  if (identity !== undefined)
    throw new OperatorError(
      `${join(data, LOG_FILE)}: the log ${identity.origin} is there already`,
      'Run rootspan run to go on with it, or point --data at a new directory to begin another one.',
    )
  const names = await listNames(files, data)
  const others = names.filter((name) => name !== `${LOG_FILE}.tmp` && name !== 'lost+found' && name !== 'log')
  if (others.length > 0)
    throw new OperatorError(
      `${data} is not empty (${others.slice(0, 3).join(', ')}${others.length > 3 ? ', ...' : ''}) and has no ${LOG_FILE}`,
      `Point --data at a new directory; if this is the data of a log, put its ${LOG_FILE} back.`,
    )
  if (!(await isUnusedDatabase(files, join(data, 'log'))))
    throw new OperatorError(
      `${join(data, 'log')} holds a database and ${data} has no ${LOG_FILE}`,
      `Put the ${LOG_FILE} of that log back, or point --data at a new directory.`,
    )
}

/** Whether an attempt before this one left it: nothing was ever written to it. */
async function isUnusedDatabase(files: Files, directory: string): Promise<boolean> {
  for (const name of await listNames(files, directory)) {
    if (name.endsWith('.ldb') || name.endsWith('.sst')) return false
    if (name.endsWith('.log') && ((await files.stat(join(directory, name)))?.size ?? 0) > 0) return false
  }
  return true
}

async function createDatabase(files: Files, data: string): Promise<void> {
  const directory = join(data, 'log')
  if ((await listNames(files, directory)).length > 0) await rm(directory, { recursive: true })
  const database = await openDatabase(resolve(directory), 'create')
  await database.close()
  await files.fsyncDirectory(directory)
  await files.fsyncDirectory(data)
}

function chooseOrigin(
  key: SigningKey | undefined,
  asked: string | undefined,
  signer: string,
  world: InitWorld,
): string {
  const origin = key?.verifier.name ?? asked ?? defaultOrigin(world)
  if (asked !== undefined && asked !== origin)
    throw new OperatorError(
      `the private key in ${signer} is that of ${origin}, not of ${asked}`,
      `Leave --origin out, or point --signer at a new directory.`,
      { exitCode: 2 },
    )
  const problem = findOriginProblem(origin)
  if (problem === undefined) return origin
  throw new OperatorError(
    `the origin ${JSON.stringify(origin)} ${problem}`,
    'Choose one such as logs.example.com/prod/v0.',
    { exitCode: 2 },
  )
}

/** Unique without being asked for: `rootspan.local/<host>-<8 hex digits>/v0`. */
function defaultOrigin({ random, hostname }: InitWorld): string {
  const host =
    hostname
      .toLowerCase()
      .replace(/[^a-z0-9.-]+/g, '-')
      .slice(0, 63) || 'host'
  return `rootspan.local/${host}-${formatHex(random(4))}/v0`
}

/** Creates a directory, its name durable. */
async function makeDirectory(files: Files, directory: string): Promise<void> {
  await files.mkdir(directory)
  await files.fsyncDirectory(dirname(resolve(directory)))
}

async function listNames(files: Files, directory: string): Promise<string[]> {
  try {
    return await files.readdir(directory)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return []
    throw error
  }
}
