/** Targets with known faults: the fuzzer has to find them. */
import { MalformedError } from '@rootspan/lineage/errors'
import type { Target } from './targets.ts'

const seeds = () => [Uint8Array.of(1, 2, 3, 4)]

export const targets: readonly Target[] = [
  {
    name: 'crashes',
    maxMillis: 1000,
    seeds,
    run: (bytes) => {
      if (bytes.length < 3) throw new MalformedError('too short')
      if (bytes[2] === 0xff) throw new TypeError('a bug')
    },
  },
  {
    name: 'hangs',
    maxMillis: 1000,
    seeds,
    run: (bytes) => {
      while (bytes.length > 8);
    },
  },
  {
    name: 'crawls',
    maxMillis: 5,
    seeds,
    run: (bytes) => {
      const end = performance.now() + (bytes.length === 2 ? 20 : 0)
      while (performance.now() < end);
    },
  },
  { name: 'fine', maxMillis: 1000, seeds, run: () => {} },
]
