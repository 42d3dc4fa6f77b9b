/** Names of segment files: the first position, in 16 digits, so that they sort and the newest keeps the counter. */
import { join } from 'node:path'

const NAME = /^([0-9]{16})\.journal$/

/** `0000000000004711.journal` */
export function segmentName(first: number): string {
  return `${String(first).padStart(16, '0')}.journal`
}

export function segmentPath(directory: string, first: number): string {
  return join(directory, segmentName(first))
}

/** First positions of the segments among the names of a directory, ascending. Other names are left alone. */
export function segmentFirsts(names: readonly string[]): number[] {
  const firsts: number[] = []
  for (const name of names) {
    const digits = NAME.exec(name)?.[1]
    if (digits !== undefined && Number.isSafeInteger(Number(digits))) firsts.push(Number(digits))
  }
  return firsts.sort((a, b) => a - b)
}
