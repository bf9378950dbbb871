// The agent's keyed BLAKE3 beside an independent implementation.
import { blake3 } from '@noble/hashes/blake3.js'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'

const key = fc.uint8Array({ minLength: 32, maxLength: 32 })

test('hashes what another implementation hashes, however the bytes are cut', () => {
  fc.assert(
    fc.property(key, fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 4 }), (key, pieces) => {
      const joined = new Uint8Array(Buffer.concat(pieces))
      expect(Buffer.from(keyedHash(key, ...pieces)).equals(Buffer.from(blake3(joined, { key })))).toBe(true)
    }),
    { numRuns: 60 },
  )
})

test('takes views into larger buffers as what they show', () => {
  const buffer = new Uint8Array(100).map((_, index) => index)
  const view = buffer.subarray(20, 70)
  expect(keyedHash(buffer.subarray(1, 33), view)).toEqual(keyedHash(buffer.slice(1, 33), buffer.slice(20, 70)))
})

test('gives an id whose memory is its own', () => {
  expect(keyedHash(new Uint8Array(32), new Uint8Array(5)).buffer.byteLength).toBe(32)
})
