/**
 * `npm run fuzz [-- target...] [--seconds N] [--seed S] [--input FILE]`
 *
 * Fuzzes the named targets, or all, one after the other, N seconds each (30 unless said). With `--input`, runs one
 * saved input against one target. Exit code 1 on a find, 2 on bad usage; finds are saved in a temporary folder.
 */
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fuzz, type Options, targetNames } from './session.ts'

const USAGE = `usage: npm run fuzz [-- target...] [--seconds N] [--seed S] [--input FILE]
targets: ${targetNames().join(', ')}`

async function main(args: string[]): Promise<number> {
  let options: Options
  let names: string[]
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { seconds: { type: 'string' }, seed: { type: 'string' }, input: { type: 'string' } },
    })
    names = positionals.length > 0 ? positionals : targetNames()
    options = {
      seconds: numberOf(values.seconds ?? '30', '--seconds'),
      seed: numberOf(values.seed ?? String(Date.now() % 2 ** 31), '--seed'),
      ...(values.input === undefined ? {} : { input: new Uint8Array(await readFile(values.input)) }),
    }
    for (const name of names) if (!targetNames().includes(name)) throw new Error(`no target ${name}`)
    if (options.input && names.length !== 1) throw new Error('--input needs one target')
  } catch (error) {
    console.error(`${(error as Error).message}\n${USAGE}`)
    return 2
  }
  let finds = 0
  for (const name of names) {
    const outcome = await fuzz(name, options)
    if (!outcome.found) {
      console.log(`${name}: ${outcome.runs} runs, ${outcome.outcomes.length} outcomes, seed ${options.seed}`)
      continue
    }
    finds++
    const digest = createHash('sha256').update(outcome.input).digest('hex').slice(0, 12)
    const file = join(await mkdtemp(join(tmpdir(), 'rootspan-fuzz-')), `${name}-${digest}.bin`)
    await writeFile(file, outcome.input)
    console.error(`${name}: FOUND with seed ${options.seed}: ${outcome.problem}`)
    console.error(
      `saved ${outcome.input.length} bytes; reproduce with: npm run fuzz -- ${name} --input ${file}`,
    )
  }
  return finds > 0 ? 1 : 0
}

function numberOf(text: string, what: string): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value < 0) throw new Error(`${what} is not a number`)
  return value
}

process.exitCode = await main(process.argv.slice(2))
