// The bytes of one image: chunks from memory, from disk or from the gateway, each fetched once, checked, and ahead of readers.
import { chunkLength } from '../../protocol/chunk.ts'
import { asVarveError } from '../../protocol/errors.ts'
import { idName } from '../../protocol/host/bytes.ts'
import { Limiter } from '../../protocol/host/limiter.ts'
import { FAN_OUT } from '../../protocol/image-tree.ts'
import { READ_PLAIN_BYTES_MAX, READS_AT_ONCE_MAX } from '../../protocol/limits.ts'
import type { ChunkCache, HeldChunk } from './chunk-cache.ts'
import type { DiskCache } from './disk-cache.ts'
import type { ImageTree } from './image-tree.ts'
import { ReadAhead } from './read-ahead.ts'
import { receiveChunks, type ReceiveOptions } from './receive-chunks.ts'

/** Most that is fetched ahead of one reader, in bytes; a small cache has less. */
const AHEAD_BYTES_MAX = 8 * 1024 * 1024

/** Share of the cache in memory that is fetched ahead of one reader. */
const AHEAD_SHARE = 1 / 8

/** Fetches that may wait: each is of a read that waits, or ahead of one. */
const FETCHES_WAITING_MAX = 65_536

/** Bytes of a range; what they lie in is used again once the piece is released. */
export interface Piece {
  readonly length: number
  /** Null for zeroes. */
  readonly bytes: Uint8Array | null
  readonly release: () => void
}

export interface SourceOptions extends ReceiveOptions {
  readonly tree: Pick<ImageTree, 'node'>
  readonly cache: ChunkCache
  /** Bytes that the cache may hold. */
  readonly cacheBytes: number
  readonly disk: DiskCache | null
  /** Told of stored bytes that came from the gateway. */
  readonly onReceived: (bytes: number) => void
}

interface Wanted {
  readonly position: number
  readonly id: Uint8Array
  readonly name: string
  readonly held: PromiseWithResolvers<HeldChunk>
  /** Readers that wait for it, for each of which it is held once. */
  waiting: number
}

type Chunk = HeldChunk | Promise<HeldChunk> | null

export class ChunkSource {
  readonly #options: SourceOptions
  readonly #fetches = new Limiter({ weightMax: READS_AT_ONCE_MAX, waitingMax: FETCHES_WAITING_MAX })
  /** Chunks that are on their way, by their ids. */
  readonly #coming = new Map<string, Wanted>()
  readonly #ahead: ReadAhead
  /** Chunks that one fetch spans. */
  readonly #fetchMax: number

  constructor(options: SourceOptions) {
    this.#options = options
    this.#ahead = new ReadAhead(Math.min(AHEAD_BYTES_MAX, options.cacheBytes * AHEAD_SHARE))
    this.#fetchMax = Math.max(1, READ_PLAIN_BYTES_MAX / options.chunkBytes)
  }

  /**
   * A range from left to right in pieces, each of which is there when it is given and is to be released by who got it.
   * DATA_DAMAGED, and what the connection ends with.
   */
  async *read(offset: number, length: number): AsyncGenerator<Piece> {
    const end = offset + length
    let next: Promise<readonly Chunk[]> | null = this.#leaf(offset, end, true)
    this.#fetchAhead(offset, length)
    try {
      for (let at = offset; at < end;) {
        const chunks: readonly Chunk[] = await next!
        const leafEnd = Math.min(end, this.#leafEnd(at))
        next = leafEnd < end ? this.#leaf(leafEnd, end, true) : null
        next?.catch(() => {})
        yield* this.#pieces(chunks, at, leafEnd)
        at = leafEnd
      }
    } finally {
      // a reader that has gone, or met an error, takes no more
      void next?.then((chunks) => this.#drop(chunks)).catch(() => {})
    }
  }

  #drop(chunks: readonly Chunk[]): void {
    for (const chunk of chunks) {
      if (chunk instanceof Promise) chunk.then((held) => this.#options.cache.release(held)).catch(() => {})
      else if (chunk !== null) this.#options.cache.release(chunk)
    }
  }

  #leafEnd(offset: number): number {
    const leafBytes = FAN_OUT * this.#options.chunkBytes
    return (Math.floor(offset / leafBytes) + 1) * leafBytes
  }

  #fetchAhead(offset: number, length: number): void {
    const ahead = this.#ahead.note(offset, length)
    if (ahead === null) return
    const end = Math.min(ahead.offset + ahead.length, this.#options.size)
    // a failure is told to who reads it
    for (let at = ahead.offset; at < end; at = this.#leafEnd(at)) this.#leaf(at, end, false).catch(() => {})
  }

  /** Neighbouring bytes of these chunks, from `at` on, as few pieces as can be. */
  async *#pieces(chunks: readonly Chunk[], from: number, end: number): AsyncGenerator<Piece> {
    const { chunkBytes, cache } = this.#options
    let last: Piece | null = null
    let at = from
    let taken = 0
    try {
      for (const chunk of chunks) {
        const held = chunk instanceof Promise ? await chunk : chunk
        taken++
        const within = at % chunkBytes
        const length = Math.min(chunkBytes - within, end - at)
        const piece = pieceOf(held, within, length, cache)
        const joined: Piece | null = last === null ? null : join(last, piece)
        if (last !== null && joined === null) {
          const full: Piece = last
          last = piece
          yield full
        } else last = joined ?? piece
        at += length
      }
      if (last !== null) {
        const full: Piece = last
        last = null
        yield full
      }
    } finally {
      last?.release()
      this.#drop(chunks.slice(taken))
    }
  }

  /**
   * The chunks of the leaf over `offset`, from there to its end or to `end`; what is not there is fetched. Each is held for who
   * `reads` it.
   */
  async #leaf(offset: number, end: number, reads: boolean): Promise<readonly Chunk[]> {
    const { tree, cache, disk, chunkBytes } = this.#options
    const first = Math.floor(offset / chunkBytes)
    const last = Math.ceil(Math.min(end, this.#leafEnd(offset)) / chunkBytes)
    const node = await tree.node(0, first)
    if (node === null) return Array<null>(last - first).fill(null)
    const run: Wanted[] = []
    const chunks: Chunk[] = []
    const fetchRun = (): void => {
      if (run.length > 0) void this.#fetch(run.splice(0))
    }
    for (let position = first; position < last; position++) {
      const id = node.child(position % FAN_OUT)
      if (id === null) {
        chunks.push(null)
        continue
      }
      const name = idName(id)
      const coming = this.#coming.get(name)
      if (coming !== undefined || cache.has(name)) {
        fetchRun()
        if (!reads) continue
        if (coming !== undefined) coming.waiting++
        chunks.push(coming?.held.promise ?? cache.take(name))
        continue
      }
      const wanted: Wanted = { position, id, name, held: Promise.withResolvers(), waiting: reads ? 1 : 0 }
      // a failure is told to who awaits it
      wanted.held.promise.catch(() => {})
      this.#coming.set(name, wanted)
      chunks.push(wanted.held.promise)
      if (disk?.has(name) === true) {
        fetchRun()
        void this.#load(disk, wanted)
        continue
      }
      if (run.length > 0 && position - run[0]!.position >= this.#fetchMax) fetchRun()
      run.push(wanted)
    }
    fetchRun()
    return chunks
  }

  /** A chunk from the cache on disk, or from the gateway where it is not whole there any more. */
  async #load(disk: DiskCache, wanted: Wanted): Promise<void> {
    const { size, chunkBytes } = this.#options
    const { position, id, name } = wanted
    const plain = await disk.get(name, id, chunkLength(position, size, chunkBytes))
    if (plain === null) return await this.#fetch([wanted])
    this.#come([wanted], new Map([[name, plain]]))
  }

  /** Fetches neighbouring chunks, between which are only zeroes, and settles each; damage fails only the chunk that has it. */
  async #fetch(run: readonly Wanted[]): Promise<void> {
    const { disk } = this.#options
    try {
      const plains = await this.#fetches.run(1, () => this.#receive(run))
      this.#come(run, plains)
      if (disk !== null) for (const [name, plain] of plains) disk.put(name, plain)
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (error.code === 'DATA_DAMAGED' && run.length > 1) {
        const middle = run.length >> 1
        await Promise.all([run.slice(0, middle), run.slice(middle)].map((half) => this.#fetch(half)))
        return
      }
      for (const { name, held } of run) {
        this.#coming.delete(name)
        held.reject(error)
      }
    }
  }

  /** Gives chunks to who waits for them, for whom they are held from now on. */
  #come(run: readonly Wanted[], plains: ReadonlyMap<string, Uint8Array>): void {
    const waiting = new Map(run.map((one) => [one.name, one.waiting]))
    const held = this.#options.cache.add(plains, (name) => waiting.get(name) ?? 0)
    for (const { name, held: promise } of run) {
      this.#coming.delete(name)
      promise.resolve(held.get(name)!)
    }
  }

  async #receive(run: readonly Wanted[]): Promise<Map<string, Uint8Array>> {
    const { size, chunkBytes, onReceived } = this.#options
    const plain = await receiveChunks(this.#options, run, onReceived)
    const plains = new Map<string, Uint8Array>()
    let at = 0
    for (const { name, position } of run) {
      const length = chunkLength(position, size, chunkBytes)
      plains.set(name, plain.subarray(at, (at += length)))
    }
    return plains
  }
}

/** Bytes of a chunk that is held; those of a copy where too much is held. */
const pieceOf = (held: HeldChunk | null, from: number, length: number, cache: ChunkCache): Piece => {
  if (held === null) return { length, bytes: null, release: () => {} }
  const bytes = held.plain.subarray(from, from + length)
  if (!cache.crowded) return { length, bytes, release: () => cache.release(held) }
  const own = new Uint8Array(bytes)
  cache.release(held)
  return { length, bytes: own, release: () => {} }
}

/** Two neighbours as one piece: both zeroes, or one behind the other in one buffer. */
const join = (a: Piece, b: Piece): Piece | null => {
  const length = a.length + b.length
  const release = (): void => {
    a.release()
    b.release()
  }
  if (a.bytes === null || b.bytes === null) return a.bytes === b.bytes ? { length, bytes: null, release } : null
  const { buffer, byteOffset } = a.bytes
  if (b.bytes.buffer !== buffer || b.bytes.byteOffset !== byteOffset + a.length) return null
  return { length, bytes: new Uint8Array(buffer, byteOffset, length), release }
}
