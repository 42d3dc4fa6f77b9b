/** What `docs/instrument/README.md` lists: the libraries that have a hook, and the pages beside it. */
import { glob, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { HOOKS } from '../packages/instrumentation/src/hooks/all.ts'
import { root } from './workspace.ts'

const DIRECTORY = 'docs/instrument'
/** Path from the repository's root. Between two comments of the same name it is written by `npm run generate`. */
export const ENTRY_FILE = `${DIRECTORY}/README.md`

interface Page {
  /** From the entry page. */
  readonly path: string
  readonly title: string
  readonly text: string
}

/** The entry page as it is, with its lists made new. */
export async function entryText(): Promise<string> {
  const pages = await readPages()
  const current = await readFile(join(root, ENTRY_FILE), 'utf8')
  return replace(replace(current, 'libraries', libraries(pages)), 'pages', list(pages))
}

async function readPages(): Promise<Page[]> {
  const paths: string[] = []
  for await (const path of glob('**/*.md', { cwd: join(root, DIRECTORY) }))
    if (path !== 'README.md') paths.push(path.replaceAll('\\', '/'))
  return Promise.all(
    paths.sort().map(async (path) => {
      const text = await readFile(join(root, DIRECTORY, path), 'utf8')
      return { path, title: /^# (.*)$/m.exec(text)?.[1] ?? path, text }
    }),
  )
}

/** A row for each hook; its page is the first that is about the library, by its file's name, its title or its text. */
function libraries(pages: readonly Page[]): string {
  const ofHooks = pages.filter(({ path }) => path.startsWith('hooks/'))
  const rows = HOOKS.toSorted((a, b) => (a.library < b.library ? -1 : 1)).map(({ library, versions }) => {
    const name = library.replace(/^@/, '').replace('/', '-')
    const page =
      ofHooks.find(({ path }) => path === `hooks/${name}.md`) ??
      ofHooks.find(({ title }) => title.includes(library)) ??
      ofHooks.find(({ text }) => text.includes(`\`${library}\``))
    const shown = page === undefined ? `\`${library}\`` : `[\`${library}\`](${page.path})`
    return `| ${shown} | ${versions.from} to below ${versions.before} |`
  })
  return ['| library | versions |', '|---|---|', ...rows].join('\n')
}

function list(pages: readonly Page[]): string {
  return pages.map(({ path, title }) => `- [${title.replaceAll('`', '')}](${path})`).join('\n')
}

function replace(text: string, name: string, by: string): string {
  const mark = `<!-- generated: ${name} -->`
  const [before, old, after] = text.split(mark)
  if (old === undefined || after === undefined) throw new Error(`${ENTRY_FILE} needs "${mark}" twice`)
  return `${before}${mark}\n${by}\n${mark}${after}`
}
