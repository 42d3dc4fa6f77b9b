/** Search terms, held against the commit that wrote them. */
import { equalBytes, formatHex } from '@rootspan/lineage/bytes'
import { Sink } from '@rootspan/lineage/record/sink'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import type { SegmentRow } from '../store/rows.ts'
import { TermLists } from '../store/terms.ts'
import type { Findings } from './report.ts'

export const INDEX_HINT =
  'The log itself is not affected: searches may miss executions. Restore the data directory from a copy.'

/** The terms that one commit after another implies. */
export class CommitTerms {
  readonly #reader: LogReader
  readonly #findings: Findings
  readonly #lists = new TermLists()
  readonly #value = new Sink()
  /** Keys that were expected and are there. */
  found = 0

  constructor(reader: LogReader, findings: Findings) {
    this.#reader = reader
    this.#findings = findings
  }

  /** A row of the commit; `rows` are all that the store holds of its trace, or none where they are damaged. */
  add(row: SegmentRow, rows: readonly SegmentRow[]): void {
    if (rows.length > row.segment) this.#lists.add(row, rows.slice(0, row.segment))
  }

  /** After the last row of a commit: its keys are there, with the values that its rows imply. */
  async check(commit: number): Promise<void> {
    const expected: [Uint8Array, Uint8Array][] = []
    for (const list of this.#lists) {
      this.#value.at = 0
      list.write(this.#value)
      expected.push([keys.termsKey(list.span, commit), this.#value.copy()])
      for (const service of list.services)
        expected.push([keys.serviceKey(service, list.span, commit), new Uint8Array(0)])
    }
    this.#lists.clear()
    const stored = await this.#reader.database.getMany(expected.map(([key]) => key))
    for (const [at, [key, value]] of expected.entries()) {
      const held = stored[at]
      if (held !== undefined) this.found++
      if (held !== undefined && equalBytes(held, value)) continue
      const what = held === undefined ? 'is missing' : `is not what the rows of commit ${commit} give`
      this.#findings.problem(`index, search key ${formatHex(key)}`, what, INDEX_HINT, 'index, search')
    }
  }
}
