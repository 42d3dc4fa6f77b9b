/** Name and version of this package, as on the scope of its own spans. A test compares them with package.json. */
export const NAME = '@rootspan/instrumentation'
export const VERSION = '0.1.0'
