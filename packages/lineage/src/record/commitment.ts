/**
 * Salts and commitments: what stands in a record instead of the values.
 *
 * Everything here is normative in docs/formats/commitments.md. Secrets form a tree: the journal draws one
 * 32-byte seed per request; a **trace seed** is derived from it for each trace in the request; salts are
 * derived from the trace seed. A bundle can so carry the trace seed of its own execution and tell nothing
 * about another one that happened to arrive in the same request, and erasing an execution erases its trace
 * seeds and with them every salt.
 */
import { scratch, sha256Into } from '#crypto'
import { compareBytes, copyBytes, putU32, utf8 } from '../bytes.ts'
import { ManyHasher } from '../crypto.simd.ts'
import { Sink } from './sink.ts'

export const SALT_SIZE = 16
const SEED_SIZE = 32
/** Room for salts that one large request has grown is not kept for the small ones after it. */
const MAX_KEPT_SALTS = 65_536 * SALT_SIZE

const TRACE_TAG = utf8('rs/t\n')
const SALT_TAG = utf8('rs/salt\n')
const CONTEXT_TAG = utf8('rootspan/context/v0\n')
const EVIDENCE_TAG = utf8('rootspan/evidence/v0\n')
const CLAIM_TAG = utf8('rootspan/claim/v0\n')
const CLAIMS_TAG = utf8('rootspan/claims/v0\n')

/** Ordinals of salts under one span. Claims of the span's own records follow from 1 on. */
export const EVIDENCE_ORDINAL = 0
/** First ordinal of the claims of records that the collector adds to a segment. */
export const COLLECTOR_ORDINAL = 0x8000_0000

/**
 * Computes salts and commitments. One per thread: it owns scratch space, so that nothing is allocated per
 * hash beyond the results.
 */
export class Committer {
  readonly #salt = scratch(SALT_TAG.length + SEED_SIZE + 8)
  readonly #sink = new Sink(8192)
  readonly #hash = scratch(32)

  /** 32 bytes that whoever asks for one commitment at a time may have it written to. */
  readonly scratchHash = scratch(32)
  readonly #values = new Map<number, Uint8Array>()
  #valuesOf = 0n
  /** By the length of what is hashed: for trace seeds and for salts. */
  readonly #many = new Map<number, ManyHasher>()
  #salts = new Uint8Array(0)

  constructor() {
    this.#salt.set(SALT_TAG)
  }

  /** A value that was made for the same key before, or a new one. Those of the last scope are kept, at most 256. */
  remember(scope: bigint, key: number, make: () => Uint8Array): Uint8Array {
    if (scope !== this.#valuesOf || this.#values.size >= 256) this.#values.clear()
    this.#valuesOf = scope
    let value = this.#values.get(key)
    if (value === undefined) {
      value = make()
      this.#values.set(key, value)
    }
    return value
  }

  /**
   * The seed of one trace in one request: SHA-256(tag, request seed, 16-bit tenant length, tenant, trace id).
   *
   * One compression for the default tenant. A trace seed is shown in bundles; extending it gives a longer
   * trace id, which does not exist, and nothing about the request seed.
   */
  traceSeed(requestSeed: Uint8Array, tenant: Uint8Array, traceId: Uint8Array): Uint8Array {
    const sink = this.#sink
    sink.at = 0
    sink.put(TRACE_TAG)
    sink.put(requestSeed)
    sink.u16(tenant.length)
    sink.put(tenant)
    sink.put(traceId)
    return this.#digest()
  }

  /** {@link traceSeed} for many traces at once, whose ids are at these offsets of `body`: 32 bytes each, into `out`. */
  traceSeeds(
    requestSeed: Uint8Array,
    tenant: Uint8Array,
    body: Uint8Array,
    ids: readonly number[],
    out = new Uint8Array(ids.length * SEED_SIZE),
  ): Uint8Array {
    const prefix = new Sink(64)
    prefix.put(TRACE_TAG)
    prefix.put(requestSeed)
    prefix.u16(tenant.length)
    prefix.put(tenant)
    const before = prefix.view()
    return this.#hashMany(before.length + 16, ids.length, SEED_SIZE, out, (bytes, at, i) => {
      for (let k = 0; k < before.length; k++) bytes[at + k] = before[k]!
      for (let k = 0; k < 16; k++) bytes[at + before.length + k] = body[ids[i]! + k]!
    })
  }

  /**
   * The salts of the evidence of the spans of one request at once, 16 bytes each: `seedOf` says for each which of
   * `seeds`, 32 bytes each, is its trace seed. A view that lives until the next call.
   */
  evidenceSalts(seeds: Uint8Array, seedOf: Uint32Array): Uint8Array {
    const tag = SALT_TAG
    const size = seedOf.length * SALT_SIZE
    if (this.#salts.length < size || this.#salts.length > MAX_KEPT_SALTS) this.#salts = new Uint8Array(size)
    return this.#hashMany(
      tag.length + SEED_SIZE + 8,
      seedOf.length,
      SALT_SIZE,
      this.#salts,
      (bytes, at, i) => {
        let to = at
        for (let k = 0; k < tag.length; k++) bytes[to++] = tag[k]!
        for (let k = 0, from = seedOf[i]! * SEED_SIZE; k < SEED_SIZE; k++) bytes[to++] = seeds[from + k]!
        putU32(bytes, putU32(bytes, to, i), EVIDENCE_ORDINAL)
      },
    )
  }

  /** Puts the first `kept` bytes of the digests of `count` messages of one length, which `write` writes, into `out`. */
  #hashMany(
    length: number,
    count: number,
    kept: number,
    out: Uint8Array,
    write: (bytes: Uint8Array, at: number, i: number) => void,
  ): Uint8Array {
    let many = this.#many.get(length)
    if (many === undefined) {
      many = new ManyHasher(length, 256)
      this.#many.set(length, many)
    }
    for (let done = 0; done < count; done += many.capacity) {
      const some = Math.min(many.capacity, count - done)
      for (let i = 0; i < some; i++) write(many.messages, i * many.stride, done + i)
      const digests = many.hash(some)
      for (let i = 0; i < some; i++)
        for (let k = 0; k < kept; k++) out[(done + i) * kept + k] = digests[i * 32 + k]!
    }
    return out
  }

  /**
   * The context digest that spans of one request share: SHA-256 over the tag, and receipt, resource and scope,
   * each behind its 32-bit length. It is never shown: it only goes into salted commitments.
   */
  context(receipt: Uint8Array, resource: Uint8Array, scope: Uint8Array): Uint8Array {
    const sink = this.#sink
    sink.at = 0
    sink.put(CONTEXT_TAG)
    sink.sized(receipt)
    sink.sized(resource)
    sink.sized(scope)
    return this.#digest()
  }

  /**
   * Writes the evidence commitment of one span, 32 bytes, into `out` at `at`: SHA-256 over the tag, the salt,
   * the context digest, and the span behind its 32-bit length.
   */
  evidence(
    traceSeed: Uint8Array,
    index: number,
    context: Uint8Array,
    span: Uint8Array,
    out: Uint8Array,
    at: number,
  ): void {
    const sink = this.#sink
    sink.at = 0
    this.#putSalt(traceSeed, index, EVIDENCE_ORDINAL, sink)
    const salt = copyBytes(sink.bytes, 0, SALT_SIZE)
    this.saltedEvidence(salt, 0, context, span, out, at)
  }

  /** {@link evidence} with the salt at `saltAt` of `salts`. */
  saltedEvidence(
    salts: Uint8Array,
    saltAt: number,
    context: Uint8Array,
    span: Uint8Array,
    out: Uint8Array,
    at: number,
  ): void {
    const sink = this.#sink
    sink.at = 0
    sink.put(EVIDENCE_TAG)
    sink.putRange(salts, saltAt, saltAt + SALT_SIZE)
    sink.put(context)
    sink.sized(span)
    sha256Into(sink.view(), out, at)
  }

  /** The commitment of one claim: SHA-256 over the tag, the salt, the key behind its 16-bit length, the encoded value. */
  claim(
    traceSeed: Uint8Array,
    index: number,
    ordinal: number,
    key: Uint8Array,
    value: Uint8Array,
  ): Uint8Array {
    const sink = this.#sink
    sink.at = 0
    sink.put(CLAIM_TAG)
    this.#putSalt(traceSeed, index, ordinal, sink)
    return this.#claimDigest(key, value)
  }

  /** {@link claim} with the salt itself, 16 bytes. */
  saltedClaim(salt: Uint8Array, key: Uint8Array, value: Uint8Array): Uint8Array {
    const sink = this.#sink
    sink.at = 0
    sink.put(CLAIM_TAG)
    sink.put(salt)
    return this.#claimDigest(key, value)
  }

  /** Tag and salt are in the sink. */
  #claimDigest(key: Uint8Array, value: Uint8Array): Uint8Array {
    const sink = this.#sink
    sink.u16(key.length)
    sink.put(key)
    sink.put(value)
    return this.#digest()
  }

  /** The salt of one commitment, 16 bytes: what opens it and no other. */
  salt(traceSeed: Uint8Array, index: number, ordinal: number): Uint8Array {
    const sink = this.#sink
    sink.at = 0
    this.#putSalt(traceSeed, index, ordinal, sink)
    return new Uint8Array(sink.view())
  }

  /** What an entry holds of all its claims: SHA-256 over the tag, a 32-bit count, the commitments ascending. */
  claims(commitments: Uint8Array[]): Uint8Array {
    const sink = this.#sink
    sink.at = 0
    sink.put(CLAIMS_TAG)
    sink.u32(commitments.length)
    for (const commitment of commitments.toSorted(compareBytes)) sink.put(commitment)
    return this.#digest()
  }

  /** SHA-256 of what is in the sink. Small arrays live in the JavaScript heap and cost the collector of garbage little. */
  #digest(): Uint8Array {
    sha256Into(this.#sink.view(), this.#hash, 0)
    return new Uint8Array(this.#hash)
  }

  /**
   * A salt: the first 16 bytes of SHA-256(tag, trace seed, 32-bit index of the span, 32-bit ordinal). One
   * compression, where HMAC takes four: with a secret prefix, inputs of one length and half of the output
   * withheld there is nothing to extend.
   */
  #putSalt(traceSeed: Uint8Array, index: number, ordinal: number, sink: Sink): void {
    const salt = this.#salt
    const at = SALT_TAG.length + SEED_SIZE
    for (let i = 0; i < SEED_SIZE; i++) salt[SALT_TAG.length + i] = traceSeed[i]!
    putU32(salt, putU32(salt, at, index), ordinal)
    sink.reserve(32)
    sha256Into(salt, sink.bytes, sink.at)
    sink.at += SALT_SIZE // of 32 written; what follows overwrites the rest
  }
}
