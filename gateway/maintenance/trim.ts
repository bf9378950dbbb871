// What of a pack's records is copied: whole records as they are, and of records of which some parts are dead the live ones. The
// copies of a record never take more room than the record, on which a full disk and the quota of a tenant rely.
import { readHeads } from '../../protocol/chunk-list.ts'
import { asVarveError } from '../../protocol/errors.ts'
import { ownBytes } from '../../protocol/host/bytes.ts'
import type { TenantStore } from '../datastore/tenant-store.ts'
import { recordBytes, writeRecord, type RecordHeader } from '../packs/format.ts'
import { recordsOf } from '../packs/record-work.ts'

/** A record of a pack that is left. */
export interface LeftRecord {
  readonly header: RecordHeader
  readonly offset: number
  readonly bytes: Uint8Array
}

/** The same with the places of the parts that are needed, ascending, at least one. */
export interface NeededRecord extends LeftRecord {
  readonly places: readonly number[]
}

/** A record to be appended elsewhere, and where the record began that had its parts. */
export interface CopiedRecord {
  readonly header: RecordHeader
  readonly fromOffset: number
  readonly bytes: Uint8Array
}

const asItIs = ({ header, offset, bytes }: LeftRecord): CopiedRecord => ({ header, fromOffset: offset, bytes })

/** Places that follow one another, as runs: neighbours are read together. */
const runsOf = (places: readonly number[]): number[][] => {
  const runs: number[][] = []
  for (const place of places) {
    const last = runs.at(-1)
    if (last?.at(-1) === place - 1) last.push(place)
    else runs.push([place])
  }
  return runs
}

/** The needed parts of records as records of those that are picked together, in order, packed on a record thread. */
const packed = async (
  store: TenantStore,
  records: readonly NeededRecord[],
  pick: (places: readonly number[]) => (readonly number[])[],
): Promise<CopiedRecord[][]> => {
  if (records.length === 0) return []
  const picks = records.map(({ places }) => pick(places))
  const { heads: table, stored } = await store.repack(
    records.map(({ bytes }, index) => ({ record: ownBytes(bytes), picks: picks[index]! })),
  )
  const encoded = recordsOf(readHeads(table))
  let next = 0
  let end = 0
  return records.map(({ offset }, index) =>
    picks[index]!.map((): CopiedRecord => {
      const header = encoded[next++]!
      const bytes = Buffer.alloc(recordBytes(header.storedLength, header.parts.length))
      writeRecord(bytes, 0, header, stored.subarray(end, (end += header.storedLength)))
      return { header, fromOffset: offset, bytes }
    }),
  )
}

const isShorter = (copies: readonly CopiedRecord[], { bytes: { length } }: LeftRecord): boolean =>
  copies.reduce((sum, { bytes }) => sum + bytes.length, 0) < length

/** Each run of parts by itself; where they were so small only beside one another, all in one; and else the record as it is. */
const trimmed = async (store: TenantStore, records: readonly NeededRecord[]): Promise<CopiedRecord[][]> => {
  const apart = await packed(store, records, runsOf)
  const long = records.filter((record, index) => !isShorter(apart[index]!, record))
  const together = await packed(store, long, (places) => [places])
  const ofLong = new Map(long.map((record, index) => [record, together[index]!]))
  return records.map((record, index) => {
    const copies = ofLong.get(record) ?? apart[index]!
    return isShorter(copies, record) ? copies : [asItIs(record)]
  })
}

/** What is to be appended for these records, in their order; one that cannot be unpacked stays whole: verification finds it. */
export const copiesOf = async (store: TenantStore, records: readonly NeededRecord[]): Promise<CopiedRecord[]> => {
  const isPart = ({ header, places }: NeededRecord): boolean => places.length < header.parts.length
  const some = records.filter(isPart)
  let anew: CopiedRecord[][] = []
  try {
    if (some.length > 0) anew = await trimmed(store, some)
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (error.code !== 'DATA_DAMAGED') throw error
    anew = some.map((record) => [asItIs(record)])
  }
  let next = 0
  return records.flatMap((record) => (isPart(record) ? anew[next++]! : [asItIs(record)]))
}
