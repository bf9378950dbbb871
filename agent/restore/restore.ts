// Restores one disk: takes the image's stream, checks every chunk and the root over them, and writes the target in order.
import { chunkCount, chunkLength, equalBytes, isChunkBytes } from '../../protocol/chunk.ts'
import { readHeads } from '../../protocol/chunk-list.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { FRAME_BYTES_MAX } from '../../protocol/limits.ts'
import { nodeKey, sameRef, TreeBuilder, type Ref } from '../../protocol/image-tree.ts'
import { LOAD, type Down } from '../../protocol/methods.ts'
import type { Peer } from '../../protocol/peer.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { Decoder } from './decoder.ts'
import type { DiskWriter } from './target.ts'

/** Messages decoded ahead of the one being written. */
const DECODING_MAX = 6

/** Messages written at once: while one is copied to the kernel, the next is being prepared. */
const WRITING_MAX = 3

/** Most plain bytes of the chunks in one message; compressed ones could claim far more than they hold. */
const MESSAGE_PLAIN_BYTES_MAX = FRAME_BYTES_MAX

export interface RestoreRequest {
  /** Runs a part of the restore on a connection, and again on a new one when that breaks. */
  readonly repeat: <R>(work: (peer: Peer) => Promise<R>) => Promise<R>
  readonly point: string
  readonly disk: string
  readonly size: number
  /** The image's root according to the catalog. */
  readonly root: Ref
  readonly target: DiskWriter
  /** Continues past what the gateway has lost, which stays zero, instead of failing. */
  readonly skipDamaged: boolean
  readonly signal: AbortSignal
  readonly onProgress: (doneBytes: number, bytesReceived: number) => void
  /** What an earlier restore wrote of it, with which this one begins. */
  readonly kept?: Kept
  /** Of restores that run together: their threads, and how many share what may be on the way. */
  readonly shared?: { readonly decoder: Decoder; readonly count: number }
}

/** The beginning of a disk that is there already. */
export interface Kept {
  /** Gives the image's own chunks in order as long as the disk has them. */
  readonly open: () => Promise<KeptChunks>
  /** Removes everything from an offset on, so that it reads as zeroes. */
  readonly cut: (offset: number) => Promise<void>
}

export interface KeptChunks extends AsyncDisposable {
  readonly chunkBytes: number
  readonly idKey: Uint8Array
  readonly refs: AsyncIterable<readonly Ref[]>
}

/** A range of the disk that could not be restored and is zero, in bytes. */
export interface Lost {
  readonly offset: number
  readonly length: number
}

/** What was restored. */
export interface Restored {
  /** Lost ranges, ascending and disjoint, LOST_RANGES_MAX at most; none where the disk is complete and its root checked. */
  readonly lost: readonly Lost[]
  /** Count of all lost ranges, and their bytes. */
  readonly lostCount: number
  readonly lostBytes: number
  /** Bytes of the disk that were there already, zeroes included. */
  readonly keptBytes: number
}

/** Lost ranges that are listed one by one; further ones are counted. */
export const LOST_RANGES_MAX = 10_000

interface Geometry {
  readonly chunkBytes: number
  readonly idKey: Uint8Array
  readonly tree: TreeBuilder
}

class Restore {
  readonly #request: RestoreRequest
  readonly #decoder: Decoder
  #geometry: Geometry | null = null
  /** Bytes of the disk that are written, zeroes included. */
  #written = 0
  /** Stored bytes received. */
  #received = 0
  #keptBytes = 0
  readonly #decodingMax: number
  readonly #writingMax: number
  readonly #lost: { offset: number; length: number }[] = []
  #lostCount = 0
  #lostBytes = 0
  /** Where the last lost range ended, in bytes. */
  #lostEnd = -1

  constructor(request: RestoreRequest, decoder: Decoder) {
    this.#request = request
    this.#decoder = decoder
    const share = (messages: number): number => Math.max(1, Math.floor(messages / (request.shared?.count ?? 1)))
    this.#decodingMax = share(DECODING_MAX)
    this.#writingMax = share(WRITING_MAX)
  }

  async run(): Promise<Restored> {
    const { kept } = this.#request
    if (kept !== undefined) await this.#goOn(kept)
    const tree = this.#geometry?.tree
    if (tree === undefined || tree.position < tree.chunks) await this.#request.repeat((peer) => this.#stream(peer))
    if (this.#geometry === null) throw new VarveError('STREAM_INVALID', 'the image ended without a start message')
    const root = this.#geometry.tree.finish()
    // a disk with lost ranges has another root; every received chunk was checked
    if (this.#lostBytes === 0 && !sameRef(root, this.#request.root))
      throw new VarveError('DATA_DAMAGED', 'the disk that was received is not the one the restore point names')
    return { lost: this.#lost, lostCount: this.#lostCount, lostBytes: this.#lostBytes, keptBytes: this.#keptBytes }
  }

  /** Places the chunks that are there, and removes what is behind them. */
  async #goOn(kept: Kept): Promise<void> {
    const { size, signal, onProgress } = this.#request
    await using chunks = await kept.open()
    const { chunkBytes, idKey } = chunks
    const tree = this.#begin(chunkBytes, idKey)
    for await (const refs of chunks.refs) {
      signal.throwIfAborted()
      for (const ref of refs) tree.place(0, ref)
      this.#written = Math.min(tree.position * chunkBytes, size)
      onProgress(this.#written, 0)
    }
    this.#keptBytes = this.#written
    await kept.cut(this.#written)
  }

  async #stream(peer: Peer): Promise<void> {
    const { point, disk, skipDamaged, signal } = this.#request
    const position = this.#geometry?.tree.position ?? 0
    const call = peer.open('image.download', { point, disk, position, skipDamaged }, { signal })
    const decoding: { position: number; plain: Promise<Uint8Array>; count: number }[] = []
    const writing: Promise<void>[] = []
    const writeFirst = async (): Promise<void> => {
      const { position: at, plain, count } = decoding.shift()!
      const written = this.#write(at, await plain, count)
      // a failure is thrown when its turn comes
      written.catch(() => {})
      writing.push(written)
      if (writing.length >= this.#writingMax) await writing.shift()
    }
    const writeAll = async (): Promise<void> => {
      while (decoding.length > 0) await writeFirst()
      await Promise.all(writing)
    }
    try {
      for await (const message of call.messages) {
        const work = this.#take(message)
        if (work !== null) decoding.push(work)
        if (decoding.length > this.#decodingMax) await writeFirst()
      }
      await call.result
    } catch (thrown) {
      call.cancel()
      if (!asVarveError(thrown).endsConnection) {
        await Promise.allSettled([...decoding.map(({ plain }) => plain), ...writing])
        throw thrown
      }
      // what was received before the break is valid and is not sent again
      await writeAll()
      throw thrown
    }
    await writeAll()
  }

  #take(message: Down<'image.download'>): { position: number; plain: Promise<Uint8Array>; count: number } | null {
    if (message[0] === LOAD.start) {
      this.#start(message[1])
      return null
    }
    if (this.#geometry === null) throw new VarveError('STREAM_INVALID', 'an image begins with its start')
    const { tree, idKey, chunkBytes } = this.#geometry
    const { position } = tree
    if (message[0] === LOAD.zero || message[0] === LOAD.lost) {
      if (message[1] > tree.chunks - position)
        throw new VarveError('STREAM_INVALID', 'zeroes beyond the end of the disk')
      if (message[0] === LOAD.lost) this.#lose(position * chunkBytes, message[1] * chunkBytes)
      tree.placeZeroes(message[1])
      return { position, plain: Promise.resolve(new Uint8Array(0)), count: message[1] }
    }
    const [, table, stored] = message
    const heads = readHeads(table)
    const chunks = heads.flatMap(({ parts }) => parts)
    const { length } = chunks
    if (length > tree.chunks - position) throw new VarveError('STREAM_INVALID', 'chunks beyond the end of the disk')
    if (length * chunkBytes > MESSAGE_PLAIN_BYTES_MAX)
      throw new VarveError('STREAM_INVALID', `more than ${MESSAGE_PLAIN_BYTES_MAX} bytes in one message`)
    for (const { id, plainLength } of chunks) {
      if (plainLength !== chunkLength(tree.position, this.#request.size, chunkBytes))
        throw new VarveError('DATA_DAMAGED', `the chunk at ${tree.position * chunkBytes} has the wrong length`)
      tree.place(0, Uint8Array.from(id))
    }
    this.#received += stored.length
    const plain = this.#decoder.decode(idKey, table, stored)
    plain.catch(() => {})
    return { position, plain, count: length }
  }

  #start(start: Extract<Down<'image.download'>, [typeof LOAD.start, unknown]>[1]): void {
    const { size, chunkBytes, idKey, position, root } = start
    if (this.#geometry !== null) {
      const { tree, chunkBytes: before, idKey: key } = this.#geometry
      const same = chunkBytes === before && equalBytes(idKey, key) && size === this.#request.size
      if (position === tree.position && same) return
      throw new VarveError('STREAM_INVALID', 'the image does not resume where it was interrupted')
    }
    if (
      !isChunkBytes(chunkBytes) ||
      size !== this.#request.size ||
      position !== 0 ||
      !sameRef(root, this.#request.root)
    )
      throw new VarveError('STREAM_INVALID', 'the image is not the requested one')
    this.#begin(chunkBytes, idKey)
  }

  #begin(chunkBytes: number, idKey: Uint8Array): TreeBuilder {
    const tree = new TreeBuilder({
      chunks: chunkCount(this.#request.size, chunkBytes),
      hash: keyedHash,
      nodeKey: nodeKey(keyedHash, idKey),
      onNode: () => {},
    })
    this.#geometry = { chunkBytes, idKey: Uint8Array.from(idKey), tree }
    return tree
  }

  #lose(offset: number, bytes: number): void {
    const { skipDamaged, size } = this.#request
    if (!skipDamaged) throw new VarveError('STREAM_INVALID', 'the gateway skipped damage without being asked to')
    const length = Math.min(bytes, size - offset)
    const last = this.#lost.at(-1)
    if (this.#lostEnd !== offset) {
      this.#lostCount++
      if (this.#lost.length < LOST_RANGES_MAX) this.#lost.push({ offset, length })
    } else if (last !== undefined && last.offset + last.length === offset) last.length += length
    this.#lostEnd = offset + length
    this.#lostBytes += length
  }

  async #write(position: number, plain: Uint8Array, count: number): Promise<void> {
    const { target, size, onProgress } = this.#request
    const { chunkBytes } = this.#geometry!
    const offset = position * chunkBytes
    const end = Math.min(offset + count * chunkBytes, size)
    if (plain.length > 0) {
      await target.write(offset, plain)
      this.#decoder.release(plain)
    } else await target.zero(offset, end - offset)
    this.#written += end - offset
    onProgress(this.#written, this.#received)
  }
}

/** Writes the disk to the target, or with `skipDamaged` what is left, and checks it; DATA_DAMAGED, CANCELLED, target errors. */
export const restoreDisk = async (request: RestoreRequest): Promise<Restored> => {
  if (request.shared !== undefined) return await new Restore(request, request.shared.decoder).run()
  await using decoder = new Decoder()
  return await new Restore(request, decoder).run()
}
