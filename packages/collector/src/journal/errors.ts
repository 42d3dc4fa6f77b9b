/** What can go wrong with a journal, as types that callers act upon. */

/** The journal on disk is not what was acknowledged. Never repaired by itself: an operator decides. */
export class JournalCorruption extends Error {
  override readonly name = 'JournalCorruption'
  /** Path of the segment file. */
  readonly file: string
  /** Byte offset in it where the trouble begins. */
  readonly offset: number
  /** Fixed text, usable as a metric label. */
  readonly reason: string

  constructor(file: string, offset: number, reason: string, options?: ErrorOptions) {
    super(`corrupt journal: ${file} at offset ${offset}: ${reason}`, options)
    this.file = file
    this.offset = offset
    this.reason = reason
  }
}

/**
 * Why an append is refused for now: `queue` when too many bytes wait for the disk, `journal` when the journal is at
 * its size limit (its readers are behind), `disk` when the free space is below the reserve.
 */
export type FullReason = 'queue' | 'journal' | 'disk'

/** The frame was not taken and will not appear. The sender should come again (503, UNAVAILABLE). */
export class JournalFull extends Error {
  override readonly name = 'JournalFull'
  readonly reason: FullReason

  constructor(reason: FullReason, options?: ErrorOptions) {
    super(`journal is full: ${reason}`, options)
    this.reason = reason
  }
}

/**
 * The journal takes no more frames in this process: a write or sync failed (`cause`), or it was closed. Frames that
 * were not acknowledged may or may not be there after a restart.
 */
export class JournalFailed extends Error {
  override readonly name = 'JournalFailed'
}
