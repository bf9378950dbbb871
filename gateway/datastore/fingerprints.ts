// A compact map from ids to small numbers: ids are hashes, so their first eight bytes stand for them.

/** Slots are taken up to this share before the table grows. */
const LOAD_MAX = 0.7

const WORDS = 3
const SLOTS_MIN = 1024

const wordAt = (id: Uint8Array, at: number): number =>
  (id[at]! | (id[at + 1]! << 8) | (id[at + 2]! << 16) | (id[at + 3]! << 24)) >>> 0

/**
 * Values from 1 to 2^32 - 1 by id; about 25 bytes an entry. Two ids with the same first 64 bits count as one, which happens by
 * chance once in 10^5 tables of 20 million: whoever uses it must only lose space or a second look by that, never data.
 */
export class Fingerprints {
  #slots = SLOTS_MIN
  #words = new Uint32Array(SLOTS_MIN * WORDS)
  #size = 0

  /** Ids held. */
  get size(): number {
    return this.#size
  }

  /** The id's value; 0 where it has none. */
  get(id: Uint8Array): number {
    return this.#words[this.#find(wordAt(id, 0), wordAt(id, 4)) + 2]!
  }

  has(id: Uint8Array): boolean {
    return this.get(id) !== 0
  }

  set(id: Uint8Array, value: number): void {
    const low = wordAt(id, 0)
    const high = wordAt(id, 4)
    const at = this.#find(low, high)
    if (this.#words[at + 2] === 0) {
      this.#size++
      this.#words[at] = low
      this.#words[at + 1] = high
    }
    this.#words[at + 2] = value
    if (this.#size > this.#slots * LOAD_MAX) this.#grow()
  }

  /** Takes the id in; false when it was there. */
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

  #find(low: number, high: number): number {
    const mask = this.#slots - 1
    let slot = low & mask
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
