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
import { compareBytes, copyBytes, copyWords, dataView, putU32, utf8 } from '../bytes.ts'
import { ManyHasher } from '../crypto.simd.ts'
import { Sink } from './sink.ts'

export const SALT_SIZE = 16
const SEED_SIZE = 32
/** How many messages are hashed at once. */
const BATCH = 256
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
 * Puts the first `kept` bytes, a multiple of 8, of the digests of `count` messages, which `write` writes, into `out`; returns
 * that.
 */
function hashBatch(
  hasher: ManyHasher,
  count: number,
  kept: number,
  out: Uint8Array,
  write: (at: number, i: number) => void,
): Uint8Array {
  const { stride, capacity } = hasher
  const to = dataView(out)
  for (let done = 0; done < count; done += capacity) {
    const some = Math.min(capacity, count - done)
    for (let i = 0; i < some; i++) write(i * stride, done + i)
    const digests = dataView(hasher.hash(some))
    for (let i = 0; i < some; i++) copyWords(digests, i * 32, to, (done + i) * kept, kept)
  }
  return out
}

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
  /** Of `scratchHash`. */
  readonly scratchData = dataView(this.scratchHash)
  readonly #values = new Map<number, Uint8Array>()
  #valuesOf = 0n
  /** By the length of what is hashed for a trace seed, which is that of its tenant. */
  readonly #seedHashers = new Map<number, ManyHasher>()
  /** For salts: their tag is in each message for good. */
  #saltHasher: ManyHasher | undefined
  #salts: Uint8Array = new Uint8Array(0)
  /** What is hashed for evidence: its tag is in it for good, and the context of the span before. */
  readonly #evidence = new Sink(8192)
  #context: Uint8Array | undefined

  constructor() {
    this.#salt.set(SALT_TAG)
    this.#evidence.put(EVIDENCE_TAG)
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
    const prefix = TRACE_TAG.length + SEED_SIZE + 2 + tenant.length
    let hasher = this.#seedHashers.get(prefix)
    if (hasher === undefined) {
      hasher = new ManyHasher(prefix + 16, BATCH)
      this.#seedHashers.set(prefix, hasher)
    }
    const { messages, data, stride } = hasher
    // The first one is written, and the others begin like it.
    const before = new Sink(prefix)
    before.put(TRACE_TAG)
    before.put(requestSeed)
    before.u16(tenant.length)
    before.put(tenant)
    for (let at = 0, left = Math.min(ids.length, hasher.capacity); left > 0; left--, at += stride)
      messages.set(before.bytes, at)
    const from = dataView(body)
    return hashBatch(hasher, ids.length, SEED_SIZE, out, (at, i) =>
      copyWords(from, ids[i]!, data, at + prefix, 16),
    )
  }

  /**
   * The salts of the evidence of the spans of one request at once, 16 bytes each: `seedOf` says for each which of
   * `seeds`, 32 bytes each, is its trace seed. A view that lives until the next call.
   */
  evidenceSalts(seeds: Uint8Array, seedOf: Uint32Array): Uint8Array {
    const size = seedOf.length * SALT_SIZE
    if (this.#salts.length < size || this.#salts.length > MAX_KEPT_SALTS) this.#salts = new Uint8Array(size)
    if (seeds.length === 0) return this.#salts // of spans that are all bad
    this.#saltHasher ??= new ManyHasher(SALT_TAG.length + SEED_SIZE + 8, BATCH, SALT_TAG)
    const { data } = this.#saltHasher
    const from = dataView(seeds)
    return hashBatch(this.#saltHasher, seedOf.length, SALT_SIZE, this.#salts, (at, i) => {
      const seedAt = at + SALT_TAG.length
      copyWords(from, seedOf[i]! * SEED_SIZE, data, seedAt, SEED_SIZE)
      data.setUint32(seedAt + SEED_SIZE, i)
      data.setUint32(seedAt + SEED_SIZE + 4, EVIDENCE_ORDINAL)
    })
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
    this.saltedEvidence(salt, 0, context, span, 0, span.length, out, at)
  }

  /**
   * {@link evidence} of the span in [start, end) of `body`, with the salt at `saltAt` of `salts`. An array that was passed as
   * `context`, here or there, is known again as such: it may not be written any more.
   */
  saltedEvidence(
    salts: Uint8Array,
    saltAt: number,
    context: Uint8Array,
    body: Uint8Array,
    start: number,
    end: number,
    out: Uint8Array,
    at: number,
  ): void {
    const sink = this.#evidence
    sink.at = EVIDENCE_TAG.length
    sink.putRange(salts, saltAt, saltAt + SALT_SIZE)
    if (context === this.#context) sink.at += context.length
    else {
      sink.put(context)
      this.#context = context
    }
    sink.u32(end - start)
    sink.putRange(body, start, end)
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
