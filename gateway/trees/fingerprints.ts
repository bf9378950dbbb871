// A compact map from ids to small numbers: eight bytes represent an id, mixed from all of it with secret factors.
import { randomBytes } from 'node:crypto'
import { ID_BYTES } from '../../protocol/chunk.ts'

/** Slots are taken up to this share before the table grows. */
const LOAD_MAX = 0.7

const WORDS = 3
const SLOTS_MIN = 1024

const wordAt = (id: Uint8Array, at: number): number =>
  (id[at]! | (id[at + 1]! << 8) | (id[at + 2]! << 16) | (id[at + 3]! << 24)) >>> 0

const ID_WORDS = ID_BYTES / 4

/** Odd factors of one table, a pair of rows of them. */
const randomFactors = (): Uint32Array =>
  new Uint32Array(new Uint8Array(randomBytes(2 * ID_WORDS * 4)).buffer).map((one) => one | 1)

/**
 * Values from 1 to 2^32 - 1 by id; about 25 bytes an entry. Ids are told apart by their first byte and 56 bits that are mixed
 * from all 32 bytes with factors of this table alone: two ids fall together by chance once in 10^5 tables of 20 million, and an
 * agent, which knows the key of its tenant's ids and may search for two that look alike, cannot bring it about.
 */
export class Fingerprints {
  readonly #factors = randomFactors()
  #slots = SLOTS_MIN
  #words = new Uint32Array(SLOTS_MIN * WORDS)
  #size = 0

  /** Ids held. */
  get size(): number {
    return this.#size
  }

  /** The id's value; 0 where it has none. */
  get(id: Uint8Array): number {
    return this.#words[this.#find(this.#low(id), this.#mix(id, ID_WORDS)) + 2]!
  }

  has(id: Uint8Array): boolean {
    return this.get(id) !== 0
  }

  set(id: Uint8Array, value: number): void {
    const low = this.#low(id)
    const high = this.#mix(id, ID_WORDS)
    const at = this.#find(low, high)
    if (this.#words[at + 2] === 0) {
      this.#size++
      this.#words[at] = low
      this.#words[at + 1] = high
    }
    this.#words[at + 2] = value
    if (this.#size > this.#slots * LOAD_MAX) this.#grow()
  }

  /** Adds the id; false when it was there. */
  add(id: Uint8Array): boolean {
    if (this.has(id)) return false
    this.set(id, 1)
    return true
  }

  /** Entries that `isCounted` picks, by the first byte of the id and the value. */
  count(isCounted: (firstByte: number, value: number) => boolean): number {
    let count = 0
    for (let at = 0; at < this.#words.length; at += WORDS)
      if (this.#words[at + 2] !== 0 && isCounted(this.#words[at]! & 0xff, this.#words[at + 2]!)) count++
    return count
  }

  /** The id's first byte, by which passes are told apart, and 24 mixed bits above it. */
  #low(id: Uint8Array): number {
    return ((this.#mix(id, 0) & 0xffff_ff00) | id[0]!) >>> 0
  }

  #mix(id: Uint8Array, row: number): number {
    let sum = 0
    for (let word = 0; word < ID_WORDS; word++)
      sum = (sum + Math.imul(wordAt(id, word * 4), this.#factors[row + word]!)) | 0
    // the low bits of a sum of products depend on the low bits of the words alone
    sum = Math.imul(sum ^ (sum >>> 15), 0x2c1b_3c6d)
    return (sum ^ (sum >>> 13)) >>> 0
  }

  #find(low: number, high: number): number {
    const mask = this.#slots - 1
    let slot = (low ^ (low >>> 8) ^ high) & mask
    while (true) {
      const at = slot * WORDS
      if (this.#words[at + 2] === 0 || (this.#words[at] === low && this.#words[at + 1] === high)) return at
      slot = (slot + 1) & mask
    }
  }

  #grow(): void {
    const old = this.#words
    this.#slots *= 2
    this.#words = new Uint32Array(this.#slots * WORDS)
    for (let from = 0; from < old.length; from += WORDS) {
      if (old[from + 2] === 0) continue
      const at = this.#find(old[from]!, old[from + 1]!)
      this.#words.set(old.subarray(from, from + WORDS), at)
    }
  }
}
