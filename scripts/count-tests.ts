/**
 * Prints which tests of a vitest JSON report did not run and, last, the one line that says how many passed; fails if any
 * failed or none ran.
 */
import { readFile } from 'node:fs/promises'

const path = process.argv[2]
if (path === undefined) throw new Error('usage: count-tests.ts REPORT')
const report: Report = JSON.parse(await readFile(path, 'utf8'))
const skipped = report.numPendingTests + report.numTodoTests
// A file that does not load has no tests to count, but failed.
const emptyFailures = report.testResults.filter(
  (file) => file.status === 'failed' && file.assertionResults.length === 0,
)
const failed = report.numFailedTests + emptyFailures.length
for (const { assertionResults } of report.testResults)
  for (const { status, fullName } of assertionResults)
    if (status !== 'passed' && status !== 'failed') console.log(`not run: ${fullName}`)
console.log(`${report.numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed === 0 && report.success && report.numPassedTests > 0 ? 0 : 1

interface Report {
  readonly success: boolean
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly testResults: readonly {
    readonly status: string
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[]
  }[]
}
