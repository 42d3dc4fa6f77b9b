/**
 * The gate before an irreversible action: it opens when the collector has acknowledged, durably, that the action is
 * about to be done and on which decision it rests. Evidence then cannot be lost together with the process.
 */

import type { Action, Decision } from './facts.ts'
import { runtime } from './runtime.ts'

export interface GateOptions {
  /** How long to wait. Default `ROOTSPAN_GATE_MILLIS`, 2000. At most a minute. */
  readonly timeoutMillis?: number
  /** Default `refuse`: the gate stays closed. `proceed` lets the action happen and records that nobody acknowledged. */
  readonly unacknowledged?: 'refuse' | 'proceed'
}

export interface Gated {
  /** Place in the collector's journal; undefined if the action goes on without an acknowledgement. */
  readonly position: string | undefined
}

/** The gate stayed closed: the action must not happen. */
export class GateError extends Error {
  override readonly name = 'GateError'
}

const MAX_MILLIS = 60_000

/**
 * Waits for the acknowledgement. Throws a {@link GateError} if there is none in time, or no collector that gives
 * receipts. The result is a verification on the active span.
 */
export async function gate(
  intent: { readonly action: Action; readonly decision?: Decision | undefined } & GateOptions,
): Promise<Gated> {
  const { config, recorder, delivery } = runtime()
  const { action, decision, timeoutMillis = config.gateMillis, unacknowledged = 'refuse' } = intent
  const millis = Math.min(Math.max(1, timeoutMillis), MAX_MILLIS)
  const enforced = { type: 'enforcement', method: 'gate' } as const
  let why: string
  if (delivery === undefined) why = 'there is no OTLP endpoint to ask'
  else {
    const span = recorder.startIntent(action, decision)
    if (span.isRecording()) {
      const acknowledged = delivery.acknowledged(span, millis)
      span.end()
      try {
        const { position } = await acknowledged
        recorder.verification({ ...enforced, result: 'pass', targetId: position })
        return { position }
      } catch (error) {
        why = (error as Error).message
      }
    } else why = 'nothing is recorded'
  }
  recorder.verification({ ...enforced, result: 'fail', reason: 'not_acknowledged' })
  if (unacknowledged === 'proceed') return { position: undefined }
  throw new GateError(`the action is not acknowledged: ${why}`)
}
