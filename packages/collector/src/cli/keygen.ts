/** `rootspan keygen`: makes a private key without a log. */
import { randomBytes } from 'node:crypto'
import { dirname, join, resolve } from 'node:path'
import { formatVerifierKey, isKeyName } from '@rootspan/lineage/tlog/key'
import type { Command } from 'commander'
import { nodeFiles } from '../files.ts'
import { OperatorError } from '../operator-error.ts'
import { createSigningKey, KEY_FILE, writeSigningKey } from '../signing-key.ts'
import type { Io } from './io.ts'
import { addFlags } from './settings.ts'

export function addKeygen(program: Command, io: Io): void {
  const command = program
    .command('keygen')
    .summary('make an Ed25519 key pair for a log')
    .description(
      'Makes an Ed25519 key pair. With --out, the private key goes into DIRECTORY/key, readable for its owner only, and the verifier key is printed. Without, both are printed, the private key first: keep it off screens and logs.',
    )
    .requiredOption('--origin <name>', 'name of the key: the origin of the log that it signs')
    .option('--out <directory>', 'signer directory to write the private key into; must not hold one')
    .addHelpText(
      'after',
      '\nExamples:\n  $ rootspan keygen --origin logs.example.com/prod/v0 --out ./rootspan-signer\n  $ rootspan init     # takes the key and its name\n',
    )
  addFlags(command, 'logLevel').action(async ({ origin, out }: { origin: string; out?: string }) => {
    if (!isKeyName(origin))
      throw new OperatorError(
        `no key can be named ${JSON.stringify(origin)}`,
        'Choose a name without spaces and plus signs, such as logs.example.com/prod/v0.',
        { exitCode: 2 },
      )
    const key = createSigningKey(origin, new Uint8Array(randomBytes(32)))
    if (out === undefined) io.stdout.write(`${key.privateText}\n`)
    else {
      const path = join(out, KEY_FILE)
      if ((await nodeFiles.stat(path)) !== undefined)
        throw new OperatorError(
          `${path}: there is a private key already`,
          'Choose another directory; a key that is overwritten is gone.',
        )
      await nodeFiles.mkdir(out)
      await nodeFiles.fsyncDirectory(dirname(resolve(out)))
      await writeSigningKey(nodeFiles, out, key)
    }
    io.stdout.write(`${formatVerifierKey(key.verifier)}\n`)
  })
}
