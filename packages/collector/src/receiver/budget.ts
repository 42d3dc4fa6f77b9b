/**
 * Bounds the memory that requests hold between their first byte and their acknowledgement, over all receivers.
 *
 * Bytes are charged when they arrive, never by what a sender announces: otherwise a few idle connections that
 * announce much would lock everybody else out. An announced length that would not fit is refused at once all the same.
 */
import { Refusal } from './receiver.ts'

/** Default for a whole process. */
const DEFAULT_BUDGET_BYTES = 256 * 1024 * 1024

export class Budget {
  readonly limit: number
  #used = 0

  constructor(limit = DEFAULT_BUDGET_BYTES) {
    this.limit = limit
  }

  /** Bytes charged now. */
  get used(): number {
    return this.#used
  }

  fits(bytes: number): boolean {
    return this.#used + bytes <= this.limit
  }

  /** Charges, or throws a `busy` refusal and charges nothing. */
  take(bytes: number): void {
    if (!this.fits(bytes)) throw overBudget()
    this.#used += bytes
  }

  give(bytes: number): void {
    if (bytes > this.#used) throw new Error('bad budget: more given back than was taken')
    this.#used -= bytes
  }
}

export function overBudget(): Refusal {
  return new Refusal('busy', 'too many requests in flight')
}
