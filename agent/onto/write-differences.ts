// Writes the chunks that differ: fetched, checked and written a few at a time, zeroes where the image has zeroes.
import { FAN_OUT } from '../../protocol/image-tree.ts'
import { READ_PLAIN_BYTES_MAX, READS_AT_ONCE_MAX } from '../../protocol/limits.ts'
import { receiveChunks, type ReceiveOptions } from '../export/receive-chunks.ts'
import type { ImageTree } from '../export/image-tree.ts'
import type { DiskWriter } from '../restore/target.ts'
import type { ChunkSet } from './chunk-set.ts'
import { Tasks } from './tasks.ts'

export interface WriteRequest extends ReceiveOptions {
  readonly chunks: ChunkSet
  readonly tree: Pick<ImageTree, 'node'>
  /** Written in any order. */
  readonly target: DiskWriter
  readonly signal: AbortSignal
  readonly onReceived: (storedBytes: number) => void
  /** Told of plain bytes that were written, and of zeroes. */
  readonly onWritten: (plainBytes: number, zeroBytes: number) => void
}

export interface Piece {
  readonly position: number
  readonly count: number
  /** Of each chunk; null for zeroes. */
  readonly ids: readonly Uint8Array[] | null
}

/** Neighbouring chunks of the set that are all zero, or are fetched in one request. DATA_DAMAGED. */
export async function* piecesOf({
  chunks,
  tree,
  chunkBytes,
}: Pick<WriteRequest, 'chunks' | 'tree' | 'chunkBytes'>): AsyncGenerator<Piece> {
  const fetchMax = Math.max(1, Math.floor(READ_PLAIN_BYTES_MAX / chunkBytes))
  for (const { position, count } of chunks.ranges()) {
    let from = position
    let ids: Uint8Array[] = []
    let zeroes = 0
    const take = (): Piece | null => {
      const taken = ids.length + zeroes
      if (taken === 0) return null
      const piece = { position: from, count: taken, ids: zeroes > 0 ? null : ids }
      from += taken
      ids = []
      zeroes = 0
      return piece
    }
    let node: Awaited<ReturnType<ImageTree['node']>> = null
    for (let at = position; at < position + count; at++) {
      if (at === position || at % FAN_OUT === 0) node = await tree.node(0, at)
      const id = node?.child(at % FAN_OUT) ?? null
      const turns = id === null ? ids.length > 0 : zeroes > 0 || ids.length === fetchMax
      const piece = turns ? take() : null
      if (piece !== null) yield piece
      if (id === null) zeroes++
      else ids.push(id)
    }
    const last = take()
    if (last !== null) yield last
  }
}

const writePiece = async (request: WriteRequest, { position, count, ids }: Piece): Promise<void> => {
  const { chunkBytes, size, target, decoder, onReceived, onWritten } = request
  const offset = position * chunkBytes
  const length = Math.min(count * chunkBytes, size - offset)
  if (ids === null) {
    await target.zero(offset, length)
    return onWritten(0, length)
  }
  const run = ids.map((id, index) => ({ position: position + index, id }))
  const plain = await receiveChunks(request, run, onReceived)
  await target.write(offset, plain)
  decoder.release(plain)
  onWritten(length, 0)
}

/** DATA_DAMAGED, what the connection and the target end with, the signal's reason; nothing is under way when it ends. */
export const writeDifferences = async (request: WriteRequest): Promise<void> => {
  const writes = new Tasks(READS_AT_ONCE_MAX)
  try {
    for await (const piece of piecesOf(request)) {
      request.signal.throwIfAborted()
      await writes.add(() => writePiece(request, piece))
    }
    await writes.done()
  } finally {
    await writes.settled()
  }
}
