/**
 * What the operator can put right: a bad setting, a missing log, a key that others can read.
 *
 * `message` says what is wrong in one line, `hint` what to do next in one line. Neither holds a secret. The command
 * line prints both, without a stack trace.
 */
export class OperatorError extends Error {
  override readonly name: string = 'OperatorError'
  readonly hint: string
  /** 1: it failed; 2: the command or the configuration is wrong. */
  readonly exitCode: 1 | 2

  constructor(message: string, hint: string, options?: ErrorOptions & { exitCode?: 1 | 2 }) {
    super(message, options)
    this.hint = hint
    this.exitCode = options?.exitCode ?? 1
  }
}
