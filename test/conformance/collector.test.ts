/** The conformance tests once more, against a whole collector in a process of its own. */
import { afterAll, describe } from 'vitest'
import { cleanUp } from '../e2e/process.ts'

process.env.ROOTSPAN_CONFORMANCE = 'collector'
afterAll(cleanUp)

describe('requests', async () => void (await import('./requests.test.ts')))
describe('json', async () => void (await import('./json.test.ts')))
describe('http', async () => void (await import('./http.test.ts')))
describe('grpc', async () => void (await import('./grpc.test.ts')))
describe('limits', async () => void (await import('./limits.test.ts')))
describe('overload', async () => void (await import('./overload.test.ts')))
