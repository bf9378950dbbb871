// Records on their way: encoding of tree nodes, picking what is new of a batch, and what is appended but not yet in the index.
import { CODEC } from '../../protocol/chunk.ts'
import type { NewNode } from '../../protocol/image-tree.ts'
import { idName, joinBytes } from '../../protocol/host/bytes.ts'
import { RECORD, recordBytes, writeRecord } from './format.ts'
import type { EncodedBatch, EncodedRecord } from './record-work.ts'

/** A record in a pack that the index does not have yet; `offset` is within the pack. */
export interface PendingRecord extends EncodedRecord {
  /** The pack's handle. */
  readonly pack: number
}

/** What a writer appended since its last commit. */
export class PendingRecords {
  readonly records: PendingRecord[] = []
  readonly #names = new Set<string>()
  #bytes = 0

  /** Bytes of the records in their packs. */
  get bytes(): number {
    return this.#bytes
  }

  /** Whether one of the records has a part of this id, as `idName` gives it. */
  has(name: string): boolean {
    return this.#names.has(name)
  }

  add(record: PendingRecord): void {
    this.records.push(record)
    for (const { id } of record.parts) this.#names.add(idName(id))
    this.#bytes += recordBytes(record.storedLength, record.parts.length)
  }
}

/** Tree nodes as records behind one another; ids do not compress, so they are stored as they are. */
export const encodeNodes = (nodes: readonly NewNode[]): EncodedBatch => {
  const total = nodes.reduce((sum, { bytes }) => sum + recordBytes(bytes.length), 0)
  const target = Buffer.from(new ArrayBuffer(total))
  const records: EncodedRecord[] = []
  let offset = 0
  for (const { id, bytes } of nodes) {
    const header = { type: RECORD.node, codec: CODEC.raw, parts: [{ id, plainLength: bytes.length }] }
    records.push({ ...header, storedLength: bytes.length, offset })
    offset = writeRecord(target, offset, header, bytes)
  }
  return { buffer: new Uint8Array(target.buffer, 0, offset), records }
}

/** The records of a batch that `isFresh` picks, moved together; the batch itself when it picks all. */
export const onlyFresh = (
  batch: EncodedBatch,
  isFresh: (record: EncodedRecord, index: number) => boolean,
): EncodedBatch => {
  const fresh = batch.records.filter(isFresh)
  if (fresh.length === batch.records.length) return batch
  const pieces = fresh.map(({ offset, storedLength, parts }) =>
    batch.buffer.subarray(offset, offset + recordBytes(storedLength, parts.length)),
  )
  const total = pieces.reduce((sum, piece) => sum + piece.length, 0)
  let offset = 0
  const records = fresh.map((record) => {
    const moved = { ...record, offset }
    offset += recordBytes(record.storedLength, record.parts.length)
    return moved
  })
  return { buffer: joinBytes(pieces, total), records }
}
