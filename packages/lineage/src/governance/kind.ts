/** The seven nouns of execution lineage, and the plain span. */

/** What a record is about. `span` is ancestry that carries no governance of its own. */
export const Kind = {
  request: 1,
  authorization: 2,
  decision: 3,
  verification: 4,
  action: 5,
  transition: 6,
  persistence: 7,
  span: 8,
} as const
export type Kind = (typeof Kind)[keyof typeof Kind]
