/** Where on a chain of prototypes a member is: hooks change it there, so that subclasses which call it are seen once. */
export function ownerOf(start: unknown, name: string): object | undefined {
  let owner = start
  while (typeof owner === 'object' && owner !== null) {
    if (Object.hasOwn(owner, name)) return owner
    owner = Object.getPrototypeOf(owner) as unknown
  }
  return undefined
}

/** The prototype of an exported class. */
export function prototypeOf(exported: unknown): object | undefined {
  return typeof exported === 'function' ? (exported.prototype as object) : undefined
}
