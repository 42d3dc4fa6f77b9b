/**
 * `npm run build`: compiles each package to its `dist`, as it is published: JavaScript, types, source maps.
 *
 * A package is compiled against the `dist` of those before it, so their published exports are what is checked.
 */
import { chmod, copyFile, glob, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { packages, root, run } from './workspace.ts'

for (const name of packages) await rm(join(root, 'packages', name, 'dist'), { recursive: true, force: true })
for (const name of packages) await build(name)

async function build(name: string): Promise<void> {
  const directory = join(root, 'packages', name)
  const { code, output } = await run('tsc', ['-p', join(directory, 'tsconfig.build.json')])
  if (code !== 0) fail(`packages/${name} does not compile`, output)
  await refuseSourcePaths(directory)
  const manifest: { bin?: Record<string, string> } = JSON.parse(
    await readFile(join(directory, 'package.json'), 'utf8'),
  )
  for (const path of Object.values(manifest.bin ?? {})) await makeExecutable(join(directory, path))
  await copyFile(join(root, 'LICENSE'), join(directory, 'LICENSE'))
  console.log(`packages/${name}/dist`)
}

async function makeExecutable(path: string): Promise<void> {
  const text = await readFile(path, 'utf8').catch(() =>
    fail(`${path} is missing`, 'package.json names it as a command'),
  )
  if (!text.startsWith('#!/usr/bin/env node\n')) fail(`${path} does not begin with #!/usr/bin/env node`, '')
  await chmod(path, 0o755)
}

/** The compiler rewrites imports only: a worker's path ending in `.ts` would be dead once compiled. */
async function refuseSourcePaths(directory: string): Promise<void> {
  for await (const file of glob('dist/**/*.js', { cwd: directory })) {
    const path = (await readFile(join(directory, file), 'utf8')).match(/['"`]\.{1,2}\/[^'"`\s]*\.c?ts['"`]/)
    if (path) fail(`${join(directory, file)} names the source file ${path[0]}`, '')
  }
}

function fail(what: string, output: string): never {
  console.error(`${what}\n${output}`)
  process.exit(1)
}
