// A set of chunks of one image, one bit for each: two MiB for a disk of one TiB.

export interface ChunkRange {
  /** First chunk. */
  readonly position: number
  readonly count: number
}

export class ChunkSet {
  readonly #bits: Uint8Array
  readonly #chunks: number

  constructor(chunks: number) {
    this.#chunks = chunks
    this.#bits = new Uint8Array(Math.ceil(chunks / 8))
  }

  add(position: number): void {
    this.#bits[Math.floor(position / 8)]! |= 1 << (position % 8)
  }

  has(position: number): boolean {
    return (this.#bits[Math.floor(position / 8)]! & (1 << (position % 8))) !== 0
  }

  /** Neighbours together, ascending. */
  *ranges(): Generator<ChunkRange> {
    let from = 0
    let count = 0
    for (let position = 0; position < this.#chunks; position++) {
      if (count === 0 && position % 8 === 0 && this.#bits[position / 8] === 0) {
        position += 7
        continue
      }
      if (this.has(position)) {
        if (count === 0) from = position
        count++
      } else if (count > 0) {
        yield { position: from, count }
        count = 0
      }
    }
    if (count > 0) yield { position: from, count }
  }
}
