/**
 * Questions to Cedar and their answers, for decisions that are made once: those of ids and a context of plain values, with
 * an answer without errors, under one policy, which has a number. A question that is known is read twice, for a number by
 * which its decision is looked up and to compare it with what that one was about, and its parts are not put together.
 */
import { mixed, type Part, type Parts } from './prepared.ts'
import { type Fields, isFields } from './values.ts'

/** Behind the members of an object, where a name would be. */
const END = undefined

/** By all that a decision is about; undefined for what cannot be read. */
export function numberOf(call: unknown, answer: unknown, policy: number): number | undefined {
  try {
    const response = responseOf(answer)
    const reasons = reasonsIn(response)
    if (reasons === undefined) return undefined
    let number = mixed(policy, response.decision)
    for (const id of reasons) number = mixed(number, id)
    const { principal, action, resource, context } = call as Fields
    for (const value of [principal, action, resource, context])
      for (const name in value as Fields) number = mixed(mixed(number, name), (value as Fields)[name])
    return number
  } catch {
    return undefined
  }
}

/** Whether these are the parts of this question and its answer. */
export function isAbout(parts: Parts, call: unknown, answer: unknown, policy: number): boolean {
  try {
    const response = responseOf(answer)
    const reasons = reasonsIn(response)
    if (parts[0] !== policy || parts[1] !== response.decision || parts[2] !== reasons?.length) return false
    let at = 3
    for (const id of reasons!) if (parts[at++] !== id) return false
    const { principal, action, resource, context } = call as Fields
    // In a loop: of a function that is called four times there would be four copies, each to be fetched by the processor.
    for (const value of [principal, action, resource, context]) {
      if (!isPlain(value)) return false
      for (const name in value) {
        if (parts[at] !== name || parts[at + 1] !== value[name]) return false
        at += 2
      }
      if (parts[at++] !== END) return false
    }
    return at === parts.length
  } catch {
    return false
  }
}

/** All that a decision is about; undefined for anything else than above. */
export function partsOf(call: unknown, answer: unknown, policy: number): Parts | undefined {
  try {
    const response = responseOf(answer)
    const reasons = reasonsIn(response)
    if (reasons === undefined || !isPart(response.decision) || !reasons.every(isPart)) return undefined
    const parts: Part[] = [policy, response.decision, reasons.length, ...reasons]
    const { principal, action, resource, context } = call as Fields
    for (const value of [principal, action, resource, context]) {
      if (!isPlain(value)) return undefined
      for (const name in value) {
        const member = value[name]
        if (!isPart(member)) return undefined
        parts.push(name, member)
      }
      parts.push(END)
    }
    return parts
  } catch {
    return undefined
  }
}

function responseOf(answer: unknown): Fields {
  return (answer as Fields).response as Fields
}

/** Undefined where there were errors. */
function reasonsIn(response: Fields): readonly unknown[] | undefined {
  const { reason, errors } = response.diagnostics as Fields
  return Array.isArray(reason) && Array.isArray(errors) && errors.length === 0 ? reason : undefined
}

function isPart(value: unknown): value is string | number | boolean {
  return typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
}

/** Its members, as they can be listed, are all that canonical JSON has of it. */
function isPlain(value: unknown): value is Fields {
  return isFields(value) && Object.getPrototypeOf(value) === Object.prototype && !('toJSON' in value)
}
