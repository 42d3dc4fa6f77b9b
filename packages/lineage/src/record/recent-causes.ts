/** What the records of one span name as their causes: facts and log records that lie before them. */
import { Kind } from '../governance/kind.ts'
import { type Cause, MAX_CAUSES, Role } from './entry.ts'

/** The last causes of each role: as many as an entry may name, so that a span with a great many facts stays linear. */
export class RecentCauses {
  readonly #byRole = new Map<Role, { readonly number: number; readonly cause: Cause }[]>()
  #count = 0

  add(cause: Cause): void {
    const recent = this.#byRole.get(cause.role) ?? []
    this.#byRole.set(cause.role, recent)
    recent.push({ number: this.#count++, cause })
    if (recent.length > MAX_CAUSES) recent.shift()
  }

  /** The last causes of these roles, or of all, in the order in which they were added. */
  last(roles?: readonly Role[]): Cause[] {
    return [...this.#byRole]
      .flatMap(([role, recent]) => (roles === undefined || roles.includes(role) ? recent : []))
      .sort((a, b) => a.number - b.number)
      .slice(-MAX_CAUSES)
      .map(({ cause }) => cause)
  }
}

/** The roles of earlier facts of the same span that a fact of this kind relies on. */
export const RELIES_ON: Readonly<Partial<Record<Kind, readonly Role[]>>> = {
  [Kind.verification]: [Role.authorization],
  [Kind.decision]: [Role.authorization, Role.verification],
  [Kind.transition]: [Role.authorization, Role.verification, Role.decision],
  [Kind.action]: [Role.authorization, Role.verification, Role.decision],
}
