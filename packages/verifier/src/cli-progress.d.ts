/** The part of cli-progress that is used; the package brings no types. */
declare module 'cli-progress' {
  interface Options {
    readonly format: string
    readonly stream: { write(text: string): void }
    readonly noTTYOutput: boolean
    readonly hideCursor: boolean
    readonly clearOnComplete: boolean
    readonly etaBuffer: number
    readonly fps: number
    readonly barsize: number
    readonly barCompleteChar: string
    readonly barIncompleteChar: string
  }

  export class SingleBar {
    constructor(options: Partial<Options>)
    start(total: number, value: number, payload?: Readonly<Record<string, string>>): void
    update(value: number, payload?: Readonly<Record<string, string>>): void
    stop(): void
  }

  const _default: { SingleBar: typeof SingleBar }
  export default _default
}
