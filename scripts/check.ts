/** `npm run check`: everything that can be told without running the project. Exits with 1 if any part fails. */

import { longFiles, wrongArrows } from './rules.ts'
import { type Outcome, root, run, sourceFiles } from './workspace.ts'

const checks: readonly (readonly [string, () => Promise<Outcome>])[] = [
  ['types', () => run('tsc', ['-p', root, '--pretty', 'false'])],
  [
    'lint and format',
    () => run('biome', ['ci', '--colors=off', '--diagnostic-level=warn', '--error-on-warnings', '.']),
  ],
  ['arrows', async () => verdict(wrongArrows(await sourceFiles()))],
  ['file lengths', async () => verdict(longFiles(await sourceFiles()))],
  ['unused exports, files and dependencies', () => run('knip', ['--no-progress', '--no-config-hints'])],
  ['generated files', () => run('node', ['--conditions=source', 'scripts/generate.ts', '--check'])],
]

let failed = 0
for (const [name, check] of checks) {
  const start = performance.now()
  const { code, output } = await check()
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  console.log(`${code === 0 ? 'ok    ' : 'FAILED'}  ${name} (${seconds} s)`)
  if (code === 0) continue
  failed++
  console.log(output.trim().replaceAll(/^/gm, '        '))
}
console.log(failed === 0 ? 'All checks passed.' : `${failed} of ${checks.length} checks failed.`)
process.exitCode = failed === 0 ? 0 : 1

function verdict(wrong: readonly string[]): Outcome {
  return { code: wrong.length === 0 ? 0 : 1, output: wrong.join('\n') }
}
