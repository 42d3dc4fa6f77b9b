/** The progress of an audit on a terminal; nothing elsewhere. */
import progressBars from 'cli-progress'
import { formatCount } from './text.ts'
import type { World } from './world.ts'

export interface Progress {
  update(size: number): void
  stop(): void
}

/** A bar from `from` to `total` records with a rate, on standard error where that is a terminal. */
export function startProgress({ err, now, beforeSignal }: World, total: number, from: number): Progress {
  if (!err.isTty) return { update() {}, stop() {} }
  const started = now()
  const bar = new progressBars.SingleBar({
    format: '{bar} {percentage}%  {done} of {all} records  {rate}/s  {eta_formatted} left',
    stream: err.stream,
    hideCursor: true,
    clearOnComplete: true,
    etaBuffer: 50,
    barsize: 24,
    barCompleteChar: '█',
    barIncompleteChar: '░',
  })
  const payload = (size: number): Record<string, string> => ({
    done: formatCount(size),
    all: formatCount(total),
    rate: formatCount(Math.round(((size - from) / Math.max(now() - started, 1)) * 1000)),
  })
  bar.start(total, from, payload(from))
  // It hides the cursor and keeps lines from wrapping, which would stay so.
  const stopListening = beforeSignal(() => bar.stop())
  return {
    update: (size) => bar.update(size, payload(size)),
    stop() {
      stopListening()
      bar.stop()
    },
  }
}
