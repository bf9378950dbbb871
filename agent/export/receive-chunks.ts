// Chunks from the gateway by their places: held against the ids that the image's tree has, and turned into plain bytes.
import { chunkLength, equalBytes, hex } from '../../protocol/chunk.ts'
import { plainLengthOf, readHeads, type BundleHead } from '../../protocol/chunk-list.ts'
import { VarveError } from '../../protocol/errors.ts'
import { checkChunks } from '../../protocol/host/chunk-steps.ts'
import type { Decoder } from '../restore/decoder.ts'
import type { ImageReads } from './image-reads.ts'

/** Fetches of so many chunks at most are decoded where they are: a thread would take longer to begin. */
const DECODED_HERE_MAX = 2

export interface ReceiveOptions {
  readonly reads: Pick<ImageReads, 'chunks'>
  readonly decoder: Pick<Decoder, 'decode' | 'release'>
  readonly idKey: Uint8Array
  readonly size: number
  readonly chunkBytes: number
}

/**
 * The plain bytes of chunks one behind the other: of neighbours, between which are only zeroes. Each has the length and the id
 * that are wanted, and bytes of that id; DATA_DAMAGED, and what the connection ends with.
 */
export const receiveChunks = async (
  { reads, decoder, idKey, size, chunkBytes }: ReceiveOptions,
  run: readonly { readonly position: number; readonly id: Uint8Array }[],
  onReceived: (storedBytes: number) => void,
): Promise<Uint8Array> => {
  const from = run[0]!.position
  const { heads, stored } = await reads.chunks(from, run.at(-1)!.position + 1 - from)
  const bundles = readHeads(heads)
  const read = bundles.flatMap(({ parts }) => parts)
  const fits = run.every(({ position, id }, at) => {
    const head = read[at]
    return head !== undefined && head.plainLength === chunkLength(position, size, chunkBytes) && equalBytes(head.id, id)
  })
  if (!fits || read.length !== run.length)
    throw new VarveError('DATA_DAMAGED', 'chunks were received that are not those of the restore point')
  onReceived(stored.length)
  return run.length > DECODED_HERE_MAX ? await decoder.decode(idKey, heads, stored) : decoded(idKey, bundles, stored)
}

/** The plain bytes of a few chunks one behind the other, each checked; DATA_DAMAGED. */
const decoded = (idKey: Uint8Array, heads: readonly BundleHead[], stored: Uint8Array): Uint8Array => {
  const plain = new Uint8Array(heads.reduce((sum, { parts }) => sum + plainLengthOf(parts), 0))
  let filled = 0
  checkChunks(heads, stored, {
    idKey,
    take: (bytes) => {
      plain.set(bytes, filled)
      filled += bytes.length
    },
    refusal: (id, cause) =>
      new VarveError('DATA_DAMAGED', `chunk ${hex(id)} is damaged`, { details: { id: hex(id) }, cause }),
  })
  return plain
}
