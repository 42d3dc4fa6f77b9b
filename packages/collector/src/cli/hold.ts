/** `rootspan hold`: what must not be erased. */
import { formatHex, parseHex } from '@rootspan/lineage/bytes'
import { Argument, type Command } from 'commander'
import type { Hold } from '../erase/holds.ts'
import { createLogger } from '../logger.ts'
import { OperatorError } from '../operator-error.ts'
import type { Io } from './io.ts'
import { addFlags, configOf, requireLog, type SharedOptions } from './settings.ts'

interface HoldOptions extends SharedOptions {
  readonly trace?: string
  readonly subject?: string
  readonly leaf?: string
  readonly reason?: string
  readonly by?: string
  readonly json?: boolean
}

export function addHold(program: Command, io: Io): void {
  const command = program
    .command('hold')
    .summary('keep executions from being erased')
    .description(
      'Adds, removes or lists holds. What is held is left alone by rootspan erase and by retention, whatever they are asked for. Each hold is a record in the log. Stop the collector first.',
    )
    .addArgument(new Argument('<action>', 'what to do').choices(['add', 'remove', 'list']))
    .option('--trace <id>', 'add: hold the execution with this trace id')
    .option('--subject <value>', 'add: hold executions that name this subject, those to come as well')
    .option('--leaf <number>', 'remove: the hold that began with this leaf, as list shows it')
    .option('--reason <text>', 'why; it is written into the log, so name nobody in it')
    .option('--by <actor>', 'by whose order; it is written into the log')
    .option('--json', 'list: print one JSON array')
    .addHelpText(
      'after',
      '\nExamples:\n  $ rootspan hold add --subject alice@example.com --reason "case 12" --by legal\n  $ rootspan hold list\n  $ rootspan hold remove --leaf 4711 --reason "case 12 is closed" --by legal',
    )
  addFlags(command, 'config', 'data', 'signer', 'logLevel').action(
    async (action: 'add' | 'remove' | 'list', options: HoldOptions) => {
      const { config: file, data, signer, logLevel } = options
      const shared = {
        config: file,
        ...(data !== undefined && { data }),
        ...(signer !== undefined && { signer }),
        ...(logLevel !== undefined && { logLevel }),
      }
      const config = configOf(shared, io)
      const identity = await requireLog(config, shared)
      const level = logLevel === undefined ? 'warn' : config.logs.level
      const logger = createLogger({ ...config.logs, level }, io.stderr)
      const { addHold: add, removeHold } = await import('../erase/hold-orders.ts')
      const { listHolds } = await import('../erase/holds.ts')
      if (action === 'list') {
        const { openStopped } = await import('../erase/stopped.ts')
        const opened = await openStopped(config, identity, logger)
        const holds = await listHolds(opened.database).finally(() => opened.close())
        io.stdout.write(
          options.json === true ? `${JSON.stringify(holds.map(holdJson))}\n` : formatHolds(holds),
        )
        return
      }
      const { reason = '', by = '' } = options
      if (reason === '' || by === '' || reason.length > 1000 || by.length > 1000)
        throw usage(
          '--reason or --by is missing or too long',
          'Say why, and by whose order: both are written into the log.',
        )
      if (action === 'remove') {
        const leaf = Number(options.leaf ?? Number.NaN)
        if (!Number.isSafeInteger(leaf) || leaf < 0)
          throw usage('--leaf is missing', 'rootspan hold list shows it.')
        await removeHold(config, identity, logger, leaf, { reason, by })
        io.stdout.write(`The hold of leaf ${leaf} has ended.\n`)
      } else {
        const leaf = await add(config, identity, logger, heldOf(options), { reason, by })
        io.stdout.write(`Held, in the log as leaf ${leaf}.\n`)
      }
    },
  )
}

function heldOf({ trace, subject }: HoldOptions) {
  if ((trace === undefined) === (subject === undefined))
    throw usage('give --trace or --subject, and not both', 'One hold is of one execution or of one subject.')
  if (subject !== undefined) return { tenant: '', subject }
  if (!/^[0-9a-f]{32}$/.test(trace!))
    throw usage(`"${trace}" is no trace id`, 'A trace id is 32 lower-case hex digits.')
  return { tenant: '', traceId: parseHex(trace!) }
}

function usage(message: string, hint: string): OperatorError {
  return new OperatorError(message, hint, { exitCode: 2 })
}

function holdJson(hold: Hold): object {
  const { leaf, reason, by, at } = hold
  const what = 'traceId' in hold ? { trace: formatHex(hold.traceId) } : { subject: hold.subject }
  return { leaf, ...what, reason, by, at: new Date(Number(at / 1_000_000n)).toISOString() }
}

function formatHolds(holds: readonly Hold[]): string {
  if (holds.length === 0) return 'Nothing is held.\n'
  return holds
    .map((hold) => {
      const what = 'traceId' in hold ? `execution ${formatHex(hold.traceId)}` : `subject ${hold.subject}`
      const at = new Date(Number(hold.at / 1_000_000n)).toISOString()
      return `leaf ${hold.leaf}  ${what}, by ${hold.by}, ${at}: ${hold.reason}\n`
    })
    .join('')
}
