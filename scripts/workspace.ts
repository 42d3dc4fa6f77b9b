/** What the scripts share: the repository's place, its packages and source files, and how a command is run. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { glob, readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

export const root = join(import.meta.dirname, '..')

/** In the order in which they are built: the first imports none of the others. */
export const packages = ['lineage', 'collector', 'verifier', 'instrumentation'] as const

/** All TypeScript of the repository by path from its root, with `/` between names. */
export async function sourceFiles(): Promise<Map<string, string>> {
  const files = new Map<string, string>()
  const patterns = ['packages/*/{src,test}/**/*.{ts,cts}', 'test/**/*.ts', 'scripts/**/*.ts']
  const found: string[] = []
  for await (const path of glob(patterns, { cwd: root, exclude: ['**/node_modules/**'] })) found.push(path)
  for (const path of found.sort())
    files.set(path.replaceAll('\\', '/'), await readFile(join(root, path), 'utf8'))
  return files
}

export interface Outcome {
  readonly code: number
  /** Standard output and error in the order in which they came. */
  readonly output: string
}

/** Runs a command of the workspace (`tsc`, `biome`, `npm`, `node`) and resolves however it ends. */
export async function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Outcome> {
  const path = [join(root, 'node_modules', '.bin'), process.env.PATH].join(delimiter)
  const child = spawn(command, args, {
    cwd: options.cwd ?? root,
    env: { ...process.env, PATH: path, ...options.env },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => {
      output += text
    })
  }
  const [code] = await once(child, 'close')
  return { code: typeof code === 'number' ? code : 1, output }
}
