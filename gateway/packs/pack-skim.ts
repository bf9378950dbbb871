// Reads only the heads of a pack's records: which ids lie in it, for a part of its bytes.
import { asVarveError } from '../../protocol/errors.ts'
import { ownBytes } from '../../protocol/host/bytes.ts'
import { PACK_HEADER_BYTES, parseRecordHeader, RECORD_HEADER_BYTES_MAX, recordBytes } from './format.ts'
import type { PackName, Packs } from './pack-store.ts'
import { scanPack, type ScanOptions } from './pack-scan.ts'

/** Bytes of one read: a few heads of tree nodes, one of chunks. */
const WINDOW_BYTES = 4096

/** A chunk of the usual size: where another request costs more than reading over it, all is read. */
const CHUNK_BYTES = 64 * 1024

/** Where a record begins that says it has a part of this id. */
export interface RecordHead {
  readonly id: Uint8Array
  readonly offset: number
}

/** The ids at the start of these bytes with the length of their record; null where there is none. */
const headAt = (bytes: Uint8Array): { readonly ids: readonly Uint8Array[]; readonly length: number } | null => {
  try {
    const { parts, storedLength } = parseRecordHeader(bytes, 0)
    return { ids: parts.map(({ id }) => ownBytes(id)), length: recordBytes(storedLength, parts.length) }
  } catch (error) {
    if (asVarveError(error).code !== 'DATA_DAMAGED') throw error
    return null
  }
}

/**
 * The heads of all parts of a pack's records in order; checksums are not looked at. Where one does not lead to the next, the
 * whole pack is searched for whole records, of which some come twice then. NOT_FOUND, STORE_FAILED.
 */
export async function* skimPack(
  store: Pick<Packs, 'costs' | 'read' | 'size'>,
  name: PackName,
  options: Pick<ScanOptions, 'signal' | 'onRead'> = {},
): AsyncGenerator<RecordHead> {
  // the scan reports an absent one
  const size = (await store.size(name)) ?? 0
  const { readGapBytes } = store.costs
  const windowBytes = readGapBytes > CHUNK_BYTES ? readGapBytes : WINDOW_BYTES
  let window: Uint8Array = new Uint8Array(0)
  let start = 0
  let offset = PACK_HEADER_BYTES
  while (offset < size) {
    options.signal?.throwIfAborted()
    const end = start + window.length
    if (offset + RECORD_HEADER_BYTES_MAX > end && end < size) {
      start = offset
      const length = Math.min(windowBytes, size - start)
      await options.onRead?.(length)
      window = await store.read(name, start, length)
    }
    const head = headAt(window.subarray(offset - start))
    if (head === null) break
    for (const id of head.ids) yield { id, offset }
    offset += head.length
  }
  if (offset === size) return
  for await (const item of scanPack(store, name, options))
    if ('header' in item) for (const { id } of item.header.parts) yield { id, offset: item.offset }
}
