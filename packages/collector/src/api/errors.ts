/** Errors that a client of the API sees, and the one shape of their bodies. */

/** Why a request got no answer: `code` is stable and for programs, `next` says what to do about it. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: number
  readonly code: string
  readonly next: string
  /** Seconds after which to come again, where that may help. */
  readonly retryAfter: number | undefined

  constructor(status: number, code: string, message: string, next: string, retryAfter?: number) {
    super(message)
    this.status = status
    this.code = code
    this.next = next
    this.retryAfter = retryAfter
  }
}

/** Body of every answer that is an error. */
export interface ErrorBody {
  readonly error: { readonly code: string; readonly message: string; readonly next: string }
}

export function errorBody({ code, message, next }: Pick<ApiError, 'code' | 'message' | 'next'>): ErrorBody {
  return { error: { code, message, next } }
}
