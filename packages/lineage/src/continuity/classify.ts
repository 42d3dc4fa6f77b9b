/**
 * What a span is when nobody says so, by its ordinary attributes: a request, an action, or neither. What comes out is
 * marked as inferred wherever it is shown, and no rule takes it for more.
 */
import type { Span } from '../otlp/decode.ts'

export interface Inferred {
  readonly kind: 'request' | 'action'
  /** Of a request its kind, of an action its name. */
  readonly name: string
  /** Of an action: its type. */
  readonly type: string | undefined
}

export function infer(span: Span): Inferred | undefined {
  if (span.kind === 2) return { kind: 'request', name: 'request', type: undefined }
  if (span.kind === 5) return { kind: 'request', name: 'message', type: undefined }
  return undefined
}
