/** What a check of the directories found, and what it looked at. */

/** Something that is not as it was written. */
export interface FsckProblem {
  /** The file, with the offset in it where that is known, or the key of the store. */
  readonly where: string
  readonly message: string
  /** What to do about it: one sentence for the operator. */
  readonly next: string
}

/** Something that a crash may leave, or that belongs to nobody: the next start deals with it, or ignores it. */
export interface FsckNote {
  readonly where: string
  readonly message: string
}

export interface FsckReport {
  readonly problems: readonly FsckProblem[]
  readonly notes: readonly FsckNote[]
  /** How many of each kind were checked, in the order in which they were. */
  readonly checked: Readonly<Record<string, number>>
  /** What was not, and why. */
  readonly notChecked: readonly FsckNote[]
}

/** Of one file or kind of key, this many problems are told; then only their number. */
const MAX_ALIKE = 20

const RESTORE = 'Keep both directories as they are, and restore the data directory from a copy.'

/** Collects a report. Bounded: a broken disk has more faults than anybody reads. */
export class Findings {
  readonly #problems: FsckProblem[] = []
  readonly #notes: FsckNote[] = []
  readonly #notChecked: FsckNote[] = []
  readonly #counts = new Map<string, number>()
  readonly #alike = new Map<string, number>()

  /** `kind` groups problems that are told together; default the whole of `where`. */
  problem(where: string, message: string, next = RESTORE, kind = where): void {
    const count = (this.#alike.get(kind) ?? 0) + 1
    this.#alike.set(kind, count)
    if (count <= MAX_ALIKE) this.#problems.push({ where, message, next })
  }

  note(where: string, message: string): void {
    if (this.#notes.length < 1000) this.#notes.push({ where, message })
  }

  skip(where: string, message: string): void {
    if (this.#notChecked.length < 1000) this.#notChecked.push({ where, message })
  }

  count(name: string, more = 1): void {
    if (more > 0) this.#counts.set(name, (this.#counts.get(name) ?? 0) + more)
  }

  get hasProblems(): boolean {
    return this.#problems.length > 0
  }

  report(): FsckReport {
    const more = [...this.#alike].filter(([, count]) => count > MAX_ALIKE)
    return {
      problems: [
        ...this.#problems,
        ...more.map(([where, count]) => ({
          where,
          message: `and ${count - MAX_ALIKE} problems more like these`,
          next: RESTORE,
        })),
      ],
      notes: this.#notes,
      checked: Object.fromEntries(this.#counts),
      notChecked: this.#notChecked,
    }
  }
}

/** Says how far a stage is; called now and then. */
export type Progress = (stage: string, done: number) => void
