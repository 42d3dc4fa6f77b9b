/** Puts the hooks for protocols over HTTP to work, in every client that a Node process has. HTTP/2 by hand is not seen. */
import type { Scopes } from '../../scope.ts'
import type { HttpHook, WatchParts } from './exchange.ts'
import { listenToNode } from './node.ts'
import { listenToUndici } from './undici.ts'

/** Returns what ends it. Requests that are under way then are no longer followed. */
export function listenToHttp(
  hooks: readonly HttpHook[],
  parts: WatchParts & { readonly scopes: Scopes },
): () => void {
  const ends = [listenToUndici(hooks, parts), listenToNode(hooks, parts)]
  return () => {
    for (const end of ends) end()
  }
}
