/** Asks the API of a running collector, for commands that read from it. */
import type { z } from 'zod'
import { OperatorError } from '../operator-error.ts'

/** Largest answer that is read, in bytes. */
const MAX_ANSWER = 64 << 20
const TIMEOUT_MILLIS = 60_000

export const DEFAULT_API = 'http://127.0.0.1:4320'

/** Whatever could not be asked or answered: exit code 2, because it says nothing about what was asked. */
export function unanswered(message: string, hint: string, cause?: unknown): OperatorError {
  return new OperatorError(message, hint, { cause, exitCode: 2 })
}

/** GETs a path below `url` and checks the answer. Throws an OperatorError that says what to do. */
export async function askApi<T>(url: string, path: string, schema: z.ZodType<T>): Promise<T> {
  const target = targetOf(url, path)
  let response: Response
  let text: string
  try {
    response = await fetch(target, { signal: AbortSignal.timeout(TIMEOUT_MILLIS), redirect: 'error' })
    text = await readText(response)
  } catch (error) {
    throw unanswered(
      `no answer from ${target.origin}: ${reasonOf(error)}`,
      'Start the collector, or name its API with --url.',
      error,
    )
  }
  const body = parseJson(text)
  if (!response.ok) {
    const { message, next } =
      (body as { error?: { message?: string; next?: string } } | undefined)?.error ?? {}
    throw unanswered(
      `${target.origin} answered ${response.status}${message === undefined ? '' : `: ${message}`}`,
      next ?? 'Check that --url is the API of a collector.',
    )
  }
  const parsed = schema.safeParse(body)
  if (!parsed.success)
    throw unanswered(
      `${target.origin} gave an answer that is none of this version`,
      'Check that --url is the API of a collector, and that it is as new as this command.',
      parsed.error,
    )
  return parsed.data
}

function targetOf(url: string, path: string): URL {
  try {
    const base = new URL(url)
    if (base.protocol === 'http:' || base.protocol === 'https:') return new URL(path, base)
  } catch {
    // Said below.
  }
  throw unanswered(`${JSON.stringify(url)} is no URL`, `Give the API's address, such as ${DEFAULT_API}.`)
}

async function readText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > MAX_ANSWER) throw new Error(`its answer is over ${MAX_ANSWER} bytes long`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function reasonOf(error: unknown): string {
  const { message, cause } = error as Error
  return cause instanceof Error && cause.message !== '' ? cause.message : message
}
