// Random choices that a seed repeats.

/** A generator of 32 random bits (xorshift32), with what tests draw from it. */
export class Dice {
  readonly seed: number
  #state: number

  constructor(seed: number) {
    this.seed = seed
    // a state of zero would stay zero, and close seeds begin alike until they are stirred
    this.#state = Math.imul(seed, 0x9e37_79b1) ^ 0x5bd1_e995 || 1
    for (let round = 0; round < 8; round++) this.#next()
  }

  /** A whole number from 0 to `limit - 1`. */
  below(limit: number): number {
    return Math.floor((this.#next() / 2 ** 32) * limit)
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.#next() / 2 ** 32 < probability
  }

  /** Bytes that do not compress. */
  bytes(length: number): Buffer {
    const words = new Uint32Array(Math.ceil(length / 4))
    for (let index = 0; index < words.length; index++) words[index] = this.#next()
    return Buffer.from(words.buffer, 0, length)
  }

  #next(): number {
    let state = this.#state
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    this.#state = state
    return state >>> 0
  }
}
