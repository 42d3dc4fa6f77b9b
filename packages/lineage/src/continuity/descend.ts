/** Walks from the roots of an execution to its leaves: what a span has from those above it. */
import type { Node } from './model.ts'

/**
 * A value for each span from that of its parent, by place. `above` is undefined for spans without a parent. Linear, and
 * without recursion: chains may be as long as an execution has spans.
 */
export function descend<T>(spans: readonly Node[], of: (node: Node, above: T | undefined) => T): T[] {
  const values: T[] = new Array(spans.length)
  // In the order of the log parents come first, unless they came in a later segment than a child.
  let place = 0
  for (; place < spans.length; place++) {
    const node = spans[place]!
    const { parent } = node
    if (parent !== undefined && parent.place > place) break
    values[place] = of(node, parent && values[parent.place])
  }
  if (place === spans.length) return values
  const done = new Uint8Array(spans.length).fill(1, 0, place)
  const path: Node[] = []
  for (const start of spans) {
    let at: Node | undefined = start
    for (; at !== undefined && done[at.place] === 0; at = at.parent) {
      done[at.place] = 1
      path.push(at)
    }
    for (let node = path.pop(); node !== undefined; node = path.pop())
      values[node.place] = of(node, node.parent && values[node.parent.place])
  }
  return values
}

/** For each span the nearest one at or above it that is meant. Every span is walked once, whatever the depth. */
export function nearest(spans: readonly Node[], isMeant: (node: Node) => boolean): (Node | undefined)[] {
  return descend<Node | undefined>(spans, (node, above) => (isMeant(node) ? node : above))
}
