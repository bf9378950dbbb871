// Random numbers and bytes that are the same in every run with the same seed.
import { createCipheriv } from 'node:crypto'

const SEED_STEP = 0x6d2b79f5
const UINT32_VALUES = 2 ** 32
const KEY_BYTES = 16

/** A generator of whole numbers from 0 to below `limit` (at most 2^32). */
export const randomIntegers = (seed: number): ((limit: number) => number) => {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + SEED_STEP) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
  return (limit) => Math.floor((next() / UINT32_VALUES) * limit)
}

/** Bytes that do not compress. */
export const randomBytesOf = (seed: number, lengthBytes: number): Buffer => {
  const key = Buffer.alloc(KEY_BYTES)
  key.writeUInt32LE(seed >>> 0)
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(KEY_BYTES)).update(Buffer.alloc(lengthBytes))
}
