/** What other systems push. Whatever is taken must be an OTLP request that the scan takes whole. */
import { MalformedError } from '@rootspan/lineage/errors'
import { FAULT, WORDS_PER_SPAN } from '@rootspan/lineage/otlp/scan'
import { scanLogs } from '@rootspan/lineage/otlp/scan-logs'
import { encodeLogRequest, isFields } from '../../packages/collector/src/receiver/log-request.ts'
import { opaRequest } from '../../packages/collector/src/receiver/opa.ts'
import { signalsOf } from '../../packages/collector/src/receiver/ssf-event.ts'
import type { Target } from './targets.ts'

const utf8 = (text: string) => new TextEncoder().encode(text)

const DECISIONS = [
  '[]',
  '[{"labels":{"id":"i","version":"1.9.0"},"decision_id":"d","trace_id":"5b8efff798038103d269b633813fc60c","span_id":"eee19b7ec3c1b174","bundles":{"a":{"revision":"1"},"b":{}},"path":"authz/allow","input":{"x":[1,2]},"result":{"allow":true},"timestamp":"2026-01-02T03:04:05.5Z"}]',
  ' [ {"decision_id":"e","result":false,"erased":["/input/x"]} , {"decision_id":"f","error":{"code":"c"},"masked":["/result"]} ] ',
]

const CLAIMS = [
  '{"iss":"i","jti":"j","iat":5,"txn":"t","sub_id":{"format":"iss_sub","iss":"a","sub":"s"},"events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{"event_timestamp":7}}}',
  '{"iss":"i","jti":"j","toe":1.5,"events":{"https://schemas.openid.net/secevent/caep/event-type/credential-change":{"change_type":"revoke","subject":{"format":"complex","user":{"format":"email","email":"e"},"session":{"format":"opaque","id":"o"}}},"x":{}}}',
  '{"iss":"i","jti":"j","sub_id":{"format":"aliases","identifiers":[{"format":"jwt_id","iss":"i","jti":"t"}]},"events":{"https://schemas.openid.net/secevent/risc/event-type/account-disabled":{}}}',
]

const TOKENS = [
  'null',
  '"',
  '\\"',
  '{',
  '}',
  '[',
  ']',
  ',',
  '1e999',
  '-1',
  '"__proto__":',
  '"format":"complex"',
  '"result":',
  '"decision_id":"x"',
]

/** Throws unless the scan takes every record of a request. */
function checkTaken(request: Uint8Array, records: number): void {
  let sound = false
  try {
    const { table, others } = scanLogs(request)
    sound = others === 0 && table.count === records
    for (let row = 0; row < table.count; row++) sound &&= table.words[row * WORDS_PER_SPAN + FAULT] === 0
  } catch (error) {
    throw new Error('what was taken does not scan', { cause: error })
  }
  if (!sound) throw new Error('what was taken is not scanned whole')
}

export const pushTargets: readonly Target[] = [
  {
    name: 'opa decisions',
    maxMillis: 1000,
    seeds: () => DECISIONS.map(utf8),
    tokens: TOKENS,
    run(bytes) {
      const request = opaRequest(bytes)
      if (request === undefined) return
      checkTaken(request, (JSON.parse(new TextDecoder().decode(bytes)) as unknown[]).length)
    },
  },
  {
    name: 'security events',
    maxMillis: 1000,
    seeds: () => CLAIMS.map(utf8),
    tokens: TOKENS,
    run(bytes) {
      let payload: unknown
      try {
        payload = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
      } catch (error) {
        throw new MalformedError('not JSON', undefined, { cause: error })
      }
      if (!isFields(payload)) throw new MalformedError('not an object')
      const records = signalsOf(payload, 'the token', (value) => `f:${value.length}`)
      if (records.length > 0) checkTaken(encodeLogRequest('ssf', {}, records), records.length)
    },
  },
]
