/** What the API thread is started with, and what it and the main thread say to each other. */

/** `workerData` of the API thread. Everything in it can be cloned. */
export interface ApiOptions {
  /** Memory of the collector's board. */
  readonly board: SharedArrayBuffer
  readonly host: string
  /** 0 takes any free port; `ready` says which. */
  readonly port: number
  /** Absolute, and spelled as the main thread spelled it: LevelDB shares a database by this string. */
  readonly logDirectory: string
  readonly packsDirectory: string
  /** The log's verifier key as text; its name is the origin. */
  readonly key: string
  /** Version of the collector, for people. */
  readonly version: string
  /** How long requests under way may take after `close`, in milliseconds. */
  readonly graceMillis: number
}

/** From the API thread. It ends by itself after `close`; a failure to start is the worker's `error` event. */
export type ApiMessage =
  | { readonly type: 'ready'; readonly endpoint: string }
  | {
      readonly type: 'log'
      readonly level: 'warn' | 'error'
      readonly fields: object
      readonly message: string
    }

/** To the API thread: stop listening, finish what is under way, release the database, end. */
export interface ApiCommand {
  readonly type: 'close'
}
