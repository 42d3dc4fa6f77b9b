/** Rules that the compiler and the linter do not know: which way imports go, what the core may touch, file lengths. */

/** Paths from the repository's root and the files' texts. */
export type SourceFiles = ReadonlyMap<string, string>

export const MAX_LINES = 700

export function longFiles(files: SourceFiles): string[] {
  const lines = (text: string) => text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
  return [...files]
    .filter(([, text]) => lines(text) > MAX_LINES)
    .map(([path, text]) => `${path}: ${lines(text)} lines, over ${MAX_LINES}`)
}

/**
 * Who may import whom. Between packages: `lineage` imports nothing of ours, the others import `lineage`, by its
 * package name, and never each other. Within `lineage`: `tlog` and `otlp` never see each other, `record` and `continuity` see each other and `otlp`,
 * `verify` is on top, with what else lies beside it; `bytes`, `crypto`, `errors` and `wire` are at the bottom. Code
 * of `lineage` reaches no runtime but JavaScript's own; `crypto.node.ts` may, and only the package's imports map
 * names it.
 */
export function wrongArrows(files: SourceFiles): string[] {
  const wrong: string[] = []
  for (const [path, text] of files) {
    const home = placeOf(path)
    if (home === undefined) continue
    const { code, bare } = stripComments(text)
    for (const specifier of importsOf(code)) {
      const what = wrongImport(path, home, specifier)
      if (what !== undefined) wrong.push(`${path}: imports ${specifier}: ${what}`)
    }
    if (home.package === 'lineage' && !isTest(path) && path !== NODE_CRYPTO)
      for (const name of worldly(bare))
        wrong.push(`${path}: uses ${name}: the core knows no runtime, clock or chance`)
  }
  return wrong
}

const NODE_CRYPTO = 'packages/lineage/src/crypto.node.ts'

/**
 * Rooms of `lineage`, and those that each may not see. Of the files directly in `src`, four are `base`, those that
 * all may see; the others, verify.ts first, are the `top`, which sees all.
 */
const ROOMS: ReadonlyMap<string, readonly string[]> = new Map([
  ['base', ['otlp', 'tlog', 'governance', 'record', 'evidence', 'top']],
  ['tlog', ['otlp', 'governance', 'record', 'evidence', 'top']],
  ['otlp', ['tlog', 'governance', 'record', 'evidence', 'top']],
  ['governance', ['tlog', 'record', 'evidence', 'top']],
  // It models what records say, and records hold what it comes to.
  ['continuity', ['tlog', 'evidence', 'top']],
  ['record', ['evidence', 'top']],
  ['evidence', ['top']],
  ['top', []],
])

interface Place {
  readonly package: string
  readonly room: string
}

function placeOf(path: string): Place | undefined {
  const [folder, name, kind, ...inside] = path.split('/')
  if (folder !== 'packages' || name === undefined || (kind !== 'src' && kind !== 'test')) return undefined
  const [first = ''] = inside
  if (inside.length > 1) return { package: name, room: first }
  return { package: name, room: /^(?:bytes|crypto|errors|wire)\./.test(first) ? 'base' : 'top' }
}

function isTest(path: string): boolean {
  return path.endsWith('.test.ts') || path.includes('/test/')
}

function wrongImport(path: string, home: Place, specifier: string): string | undefined {
  const own = /^@rootspan\/([^/]+)/.exec(specifier)?.[1]
  if (own !== undefined) {
    if (home.package === 'lineage') return 'the core imports nothing of ours by name'
    return own === 'lineage' ? undefined : 'packages never import each other, only lineage'
  }
  if (specifier.startsWith('.')) {
    const target = resolve(path, specifier)
    const place = placeOf(target)
    if (!target.startsWith(`packages/${home.package}/`)) {
      // Vectors and helpers of the whole repository lie under its own test folder.
      return isTest(path) && !target.startsWith('packages/') ? undefined : 'a path that leaves its package'
    }
    if (home.package !== 'lineage' || place === undefined) return undefined
    if (/\/src\/crypto(?:\.node)?\.ts$/.test(target) && !isTest(path))
      return 'only the imports map names it: use #crypto'
    const hidden = ROOMS.get(home.room)
    if (hidden === undefined) return `${home.room} is no room that the rules know`
    return hidden.includes(place.room) ? `${home.room} never sees ${place.room}` : undefined
  }
  if (
    home.package === 'lineage' &&
    !isTest(path) &&
    path !== NODE_CRYPTO &&
    !/^(?:#crypto$|@noble\/)/.test(specifier)
  )
    return 'the core runs in a browser and depends on @noble only'
  return undefined
}

function resolve(from: string, specifier: string): string {
  const parts = from.split('/').slice(0, -1)
  for (const part of specifier.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '.') parts.push(part)
  }
  return parts.join('/')
}

const IMPORT =
  /(?<![.\w])(?:from|import|require)\s*\(?\s*(['"`])([^'"`]+)\1|\bnew URL\(\s*(['"`])([^'"`]+)\3\s*,\s*import\.meta/g

/** Specifiers of imports, exports from, dynamic imports, and URLs next to a module (workers). */
function importsOf(code: string): string[] {
  return [...code.matchAll(IMPORT)].map((match) => match[2] ?? match[4]!)
}

const WORLD: readonly [string, RegExp][] = [
  ['Buffer', /(?<![.\w#])Buffer\b/],
  ['process', /(?<![.\w#])process\b(?!\s*[:?(])/],
  ['fetch', /(?<![.\w#])fetch\s*\(/],
  ['Date.now', /\bDate\s*\.\s*now\b/],
  ['new Date()', /\bnew\s+Date\s*(?:\(\s*\)|(?!\s*\())/],
  ['performance', /(?<![.\w#])performance\s*\./],
  ['Math.random', /\bMath\s*\.\s*random\b/],
  ['crypto', /(?<![.\w#])crypto\s*\./],
  ['a timer', /(?<![.\w#])(?:setTimeout|setInterval|setImmediate)\s*\(/],
  ['globalThis', /(?<![.\w#])globalThis\b/],
  ['require', /(?<![.\w#])require\s*\(/],
]

function worldly(bare: string): string[] {
  return WORLD.filter(([, pattern]) => pattern.test(bare)).map(([name]) => name)
}

const TOKEN =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|(?<=[(,=:[!&|?{};\n]\s*)\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*/g

/** `code` without comments; `bare` without strings and patterns too. Templates stay: their `${}` is code. */
function stripComments(text: string): { code: string; bare: string } {
  const blank = (keep: boolean) =>
    text.replaceAll(TOKEN, (token) => {
      if (token.startsWith('//') || token.startsWith('/*')) return ' '
      return keep ? token : "''"
    })
  return { code: blank(true), bare: blank(false) }
}
