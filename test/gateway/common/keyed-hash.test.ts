// The gateway's keyed BLAKE3, held against another implementation.
import { randomBytes } from 'node:crypto'
import { blake3 } from '@noble/hashes/blake3.js'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { keyedHash } from '../../../gateway/common/keyed-hash.ts'

test('is BLAKE3 over the joined pieces, wherever they lie in their buffers', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 4 }), fc.nat(9), (pieces, before) => {
      const key = new Uint8Array(randomBytes(32 + before)).subarray(before)
      const hash = keyedHash(key, ...pieces)
      expect(Buffer.from(hash)).toEqual(Buffer.from(blake3(Buffer.concat(pieces), { key })))
      expect([hash.byteOffset, hash.buffer.byteLength]).toEqual([0, 32])
    }),
  )
})
