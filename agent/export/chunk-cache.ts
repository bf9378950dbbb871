// Plain chunks in memory by their ids, of all disks: those that were fetched together share a buffer and go together.

interface Segment {
  readonly names: readonly string[]
  readonly buffer: ArrayBufferLike
  /** Who reads it now; its buffer serves again only when nobody does. */
  users: number
  cached: boolean
}

/** A chunk that stays as it is until it is released. */
export interface HeldChunk {
  readonly segment: Segment
  readonly plain: Uint8Array
}

export class ChunkCache {
  readonly #bytesMax: number
  readonly #onFree: (buffer: ArrayBufferLike) => void
  /** The least recently used one first. */
  readonly #segments = new Set<Segment>()
  readonly #chunks = new Map<string, HeldChunk>()
  #bytes = 0
  /** Of buffers that are kept for their readers alone. */
  #lingering = 0

  /** `onFree` gets buffers that nobody reads any more, to be used again. */
  constructor(bytesMax: number, onFree: (buffer: ArrayBufferLike) => void) {
    this.#bytesMax = bytesMax
    this.#onFree = onFree
  }

  /** Bytes of all buffers that are kept. */
  get bytes(): number {
    return this.#bytes
  }

  /** So much is kept for slow readers alone that what they get had better be a copy: a few bytes may keep a large buffer. */
  get crowded(): boolean {
    return this.#lingering > this.#bytesMax
  }

  has(name: string): boolean {
    return this.#chunks.has(name)
  }

  /** A chunk, to be released once. */
  take(name: string): HeldChunk | null {
    const held = this.#chunks.get(name)
    if (held === undefined) return null
    const { segment } = held
    this.#segments.delete(segment)
    this.#segments.add(segment)
    segment.users++
    return held
  }

  /** Takes chunks that share one buffer; each is held for so many users as `waiting` says. */
  add(chunks: ReadonlyMap<string, Uint8Array>, waiting: (name: string) => number): ReadonlyMap<string, HeldChunk> {
    const [first] = chunks.values()
    if (first === undefined) return new Map()
    const names = [...chunks.keys()]
    const users = names.reduce((sum, name) => sum + waiting(name), 0)
    const segment: Segment = { names, buffer: first.buffer, users, cached: true }
    const held = new Map([...chunks].map(([name, plain]) => [name, { segment, plain }]))
    for (const [name, one] of held) this.#chunks.set(name, one)
    this.#segments.add(segment)
    this.#bytes += segment.buffer.byteLength
    for (const oldest of this.#segments) {
      if (this.#bytes <= this.#bytesMax) break
      this.#evict(oldest)
    }
    return held
  }

  release({ segment }: HeldChunk): void {
    segment.users--
    if (segment.users > 0 || segment.cached) return
    this.#lingering -= segment.buffer.byteLength
    this.#onFree(segment.buffer)
  }

  #evict(segment: Segment): void {
    this.#segments.delete(segment)
    this.#bytes -= segment.buffer.byteLength
    segment.cached = false
    for (const name of segment.names) if (this.#chunks.get(name)?.segment === segment) this.#chunks.delete(name)
    if (segment.users === 0) this.#onFree(segment.buffer)
    else this.#lingering += segment.buffer.byteLength
  }
}
