// Plain chunks in memory by their ids, whatever disk they are of: those that were fetched together go together.

interface Segment {
  readonly names: readonly string[]
  /** Of the buffer that its chunks share. */
  readonly bytes: number
}

interface Held {
  readonly segment: Segment
  readonly plain: Uint8Array
}

export class ChunkCache {
  readonly #bytesMax: number
  /** The least recently used one first. */
  readonly #segments = new Set<Segment>()
  readonly #chunks = new Map<string, Held>()
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** Bytes of all buffers held. */
  get bytes(): number {
    return this.#bytes
  }

  get(name: string): Uint8Array | undefined {
    const held = this.#chunks.get(name)
    if (held === undefined) return undefined
    this.#segments.delete(held.segment)
    this.#segments.add(held.segment)
    return held.plain
  }

  /** Takes chunks that share one buffer. */
  add(chunks: ReadonlyMap<string, Uint8Array>): void {
    const [first] = chunks.values()
    if (first === undefined) return
    const segment: Segment = { names: [...chunks.keys()], bytes: first.buffer.byteLength }
    for (const [name, plain] of chunks) this.#chunks.set(name, { segment, plain })
    this.#segments.add(segment)
    this.#bytes += segment.bytes
    for (const oldest of this.#segments) {
      if (this.#bytes <= this.#bytesMax) return
      this.#segments.delete(oldest)
      this.#bytes -= oldest.bytes
      for (const name of oldest.names) if (this.#chunks.get(name)?.segment === oldest) this.#chunks.delete(name)
    }
  }
}
