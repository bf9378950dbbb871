// The bytes of one image: chunks from memory, from disk or from the gateway, each fetched once, checked, and ahead of readers.
import { chunkLength, equalBytes } from '../../protocol/chunk.ts'
import { readHeads } from '../../protocol/chunk-list.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { idName } from '../../protocol/host/bytes.ts'
import { Limiter } from '../../protocol/host/limiter.ts'
import { FAN_OUT } from '../../protocol/image-tree.ts'
import { READ_PLAIN_BYTES_MAX, READS_AT_ONCE_MAX } from '../../protocol/limits.ts'
import type { Decoder } from '../restore/decoder.ts'
import type { ChunkCache } from './chunk-cache.ts'
import type { DiskCache } from './disk-cache.ts'
import type { ImageReads } from './image-reads.ts'
import type { ImageTree } from './image-tree.ts'
import { ReadAhead } from './read-ahead.ts'

/** Most that is fetched ahead of one reader, in bytes; a small cache has less. */
const AHEAD_BYTES_MAX = 8 * 1024 * 1024

/** Share of the cache in memory that is fetched ahead of one reader. */
const AHEAD_SHARE = 1 / 8

/** Fetches that may wait: each is of a read that waits, or ahead of one. */
const FETCHES_WAITING_MAX = 65_536

/** Bytes of a range: null for zeroes. */
export interface Piece {
  readonly length: number
  readonly bytes: Uint8Array | null
}

export interface SourceOptions {
  readonly reads: Pick<ImageReads, 'chunks'>
  readonly tree: Pick<ImageTree, 'node'>
  readonly decoder: Pick<Decoder, 'decode'>
  readonly cache: ChunkCache
  /** Bytes that the cache may hold. */
  readonly cacheBytes: number
  readonly disk: DiskCache | null
  readonly idKey: Uint8Array
  readonly size: number
  readonly chunkBytes: number
  /** Told of stored bytes that came from the gateway. */
  readonly onReceived: (bytes: number) => void
}

interface Wanted {
  readonly position: number
  readonly id: Uint8Array
  readonly name: string
  readonly plain: PromiseWithResolvers<Uint8Array>
}

type Chunk = Uint8Array | Promise<Uint8Array> | null

export class ChunkSource {
  readonly #options: SourceOptions
  readonly #fetches = new Limiter({ weightMax: READS_AT_ONCE_MAX, waitingMax: FETCHES_WAITING_MAX })
  /** Chunks that are on their way, by their ids. */
  readonly #coming = new Map<string, Promise<Uint8Array>>()
  readonly #ahead: ReadAhead
  /** Chunks that one fetch spans. */
  readonly #fetchMax: number

  constructor(options: SourceOptions) {
    this.#options = options
    this.#ahead = new ReadAhead(Math.min(AHEAD_BYTES_MAX, options.cacheBytes * AHEAD_SHARE))
    this.#fetchMax = Math.max(1, READ_PLAIN_BYTES_MAX / options.chunkBytes)
  }

  /** A range from left to right in pieces; each is there when it is given. DATA_DAMAGED, and what the connection ends with. */
  async *read(offset: number, length: number): AsyncGenerator<Piece> {
    const end = offset + length
    let next = this.#leaf(offset, end)
    this.#fetchAhead(offset, length)
    for (let at = offset; at < end;) {
      const chunks = await next
      const leafEnd = Math.min(end, this.#leafEnd(at))
      if (leafEnd < end) {
        next = this.#leaf(leafEnd, end)
        next.catch(() => {})
      }
      yield* this.#pieces(chunks, at, leafEnd)
      at = leafEnd
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
    for (let at = ahead.offset; at < end; at = this.#leafEnd(at)) this.#leaf(at, end).catch(() => {})
  }

  /** Neighbouring bytes of these chunks, from `at` on, as few pieces as can be. */
  async *#pieces(chunks: readonly Chunk[], from: number, end: number): AsyncGenerator<Piece> {
    const { chunkBytes } = this.#options
    let last: Piece | null = null
    let at = from
    for (const chunk of chunks) {
      const plain = chunk instanceof Promise ? await chunk : chunk
      const within = at % chunkBytes
      const length = Math.min(chunkBytes - within, end - at)
      const piece: Piece = { length, bytes: plain?.subarray(within, within + length) ?? null }
      const joined: Piece | null = last === null ? null : join(last, piece)
      if (last !== null && joined === null) yield last
      last = joined ?? piece
      at += length
    }
    if (last !== null) yield last
  }

  /** The chunks of the leaf over `offset`, from there to its end or to `end`; what is not there is fetched. */
  async #leaf(offset: number, end: number): Promise<readonly Chunk[]> {
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
      const id = node.children[position % FAN_OUT] ?? null
      const name = id === null ? null : idName(id)
      const known = name === null ? null : (cache.get(name) ?? this.#coming.get(name))
      if (id === null || name === null) chunks.push(null)
      else if (known !== undefined && known !== null) {
        chunks.push(known)
        fetchRun()
      } else {
        const wanted = { position, id, name, plain: Promise.withResolvers<Uint8Array>() }
        // a failure is told to who awaits it
        wanted.plain.promise.catch(() => {})
        this.#coming.set(name, wanted.plain.promise)
        chunks.push(wanted.plain.promise)
        if (disk?.has(name) === true) {
          fetchRun()
          void this.#load(disk, wanted)
        } else {
          if (run.length > 0 && position - run[0]!.position >= this.#fetchMax) fetchRun()
          run.push(wanted)
        }
      }
    }
    fetchRun()
    return chunks
  }

  /** A chunk from the cache on disk, or from the gateway where it is not whole there any more. */
  async #load(disk: DiskCache, wanted: Wanted): Promise<void> {
    const { size, chunkBytes, cache } = this.#options
    const { position, id, name } = wanted
    const plain = await disk.get(name, id, chunkLength(position, size, chunkBytes))
    if (plain === null) return await this.#fetch([wanted])
    cache.add(new Map([[name, plain]]))
    this.#settle([wanted], (one) => one.plain.resolve(plain))
  }

  /** Fetches neighbouring chunks, between which there are only zeroes, and settles each; damage fails only the chunk that has it. */
  async #fetch(run: readonly Wanted[]): Promise<void> {
    const { cache, disk } = this.#options
    try {
      const plains = await this.#fetches.run(1, () => this.#receive(run))
      cache.add(plains)
      this.#settle(run, ({ name, plain }) => plain.resolve(plains.get(name)!))
      if (disk !== null) for (const [name, plain] of plains) disk.put(name, plain)
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (error.code !== 'DATA_DAMAGED' || run.length === 1) this.#settle(run, ({ plain }) => plain.reject(error))
      else await Promise.all([run.slice(0, run.length / 2), run.slice(run.length / 2)].map((half) => this.#fetch(half)))
    }
  }

  #settle(run: readonly Wanted[], settle: (one: Wanted) => void): void {
    for (const one of run) {
      this.#coming.delete(one.name)
      settle(one)
    }
  }

  async #receive(run: readonly Wanted[]): Promise<Map<string, Uint8Array>> {
    const { reads, decoder, idKey, size, chunkBytes, onReceived } = this.#options
    const from = run[0]!.position
    const { heads, stored } = await reads.chunks(from, run.at(-1)!.position + 1 - from)
    const read = readHeads(heads)
    const fits = run.every(({ position, id }, at) => {
      const head = read[at]
      return (
        head !== undefined && head.plainLength === chunkLength(position, size, chunkBytes) && equalBytes(head.id, id)
      )
    })
    if (!fits || read.length !== run.length)
      throw new VarveError('DATA_DAMAGED', 'chunks were received that are not those of the restore point')
    onReceived(stored.length)
    const plain = await decoder.decode(idKey, heads, stored)
    const plains = new Map<string, Uint8Array>()
    let at = 0
    for (const { name, position } of run) {
      const length = chunkLength(position, size, chunkBytes)
      plains.set(name, plain.subarray(at, (at += length)))
    }
    return plains
  }
}

/** Two neighbours as one piece: both zeroes, or one behind the other in one buffer. */
const join = (a: Piece, b: Piece): Piece | null => {
  const length = a.length + b.length
  if (a.bytes === null || b.bytes === null) return a.bytes === b.bytes ? { length, bytes: null } : null
  const { buffer, byteOffset } = a.bytes
  if (b.bytes.buffer !== buffer || b.bytes.byteOffset !== byteOffset + a.length) return null
  return { length, bytes: new Uint8Array(buffer, byteOffset, length) }
}
