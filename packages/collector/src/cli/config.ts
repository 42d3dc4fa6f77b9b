/** `rootspan config`: shows, checks and describes the configuration. */
import type { Command } from 'commander'
import { configJsonSchema, formatConfig, loadConfig } from '../config.ts'
import type { Io } from './io.ts'
import { addFlags, configOf, type SharedOptions } from './settings.ts'

export function addConfig(program: Command, io: Io): void {
  const command = program
    .command('config')
    .summary('show or check the configuration')
    .description('Prints the effective configuration: defaults, file, environment and flags together.')
    .option('--check <file>', 'check a file and print nothing else; exit code 2 when it is wrong')
    .option('--schema', 'print the JSON Schema of the file, for editors')
    .addHelpText(
      'after',
      '\nExamples:\n  $ rootspan config > rootspan.yaml\n  $ rootspan config --check rootspan.yaml\n  $ rootspan config --schema > rootspan.schema.json',
    )
  addFlags(command, 'config', 'data', 'signer', 'grpc', 'http', 'api', 'quietPeriod', 'logLevel').action(
    (options: SharedOptions & { check?: string; schema?: boolean }) => {
      const { check, schema, ...shared } = options
      if (schema === true) io.stdout.write(`${JSON.stringify(configJsonSchema(), undefined, 2)}\n`)
      else if (check !== undefined) {
        loadConfig({ file: check, env: io.env })
        io.stdout.write(`${check}: ok\n`)
      } else io.stdout.write(formatConfig(configOf(shared, io)))
    },
  )
}
