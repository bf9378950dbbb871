// What a survey counts while it goes through the index: records and bytes, in all, by pack and by owner.
import type { IndexPage } from '../catalog/collection.ts'
import { RECORD } from '../packs/format.ts'

export interface Sum {
  records: number
  /** Stored bytes with record headers; of each row its share of the record. */
  bytes: number
}

/** What lies in one pack: rows of the index, and bytes of those that are live. */
export interface PackSum {
  rows: number
  liveRows: number
  liveBytes: number
}

export interface OwnerSum {
  plainBytes: number
  storedBytes: number
}

const add = (sum: Sum, bytes: number): void => {
  sum.records++
  sum.bytes += bytes
}

export class IndexTally {
  readonly examined: Sum = { records: 0, bytes: 0 }
  readonly live: Sum = { records: 0, bytes: 0 }
  readonly dead: Sum = { records: 0, bytes: 0 }
  /** By the pack's handle. */
  readonly packs = new Map<number, PackSum>()
  /** By owner code; `plainBytes` counts chunks, `storedBytes` every record. */
  readonly owners = new Map<number, OwnerSum>()

  /** Counts one row of a page; `owner` is 0 where nothing refers to it. */
  add(page: IndexPage, row: number, owner: number): void {
    const bytes = page.bytes[row]!
    const pack = this.packs.get(page.packs[row]!) ?? { rows: 0, liveRows: 0, liveBytes: 0 }
    this.packs.set(page.packs[row]!, pack)
    pack.rows++
    add(this.examined, bytes)
    if (owner === 0) return add(this.dead, bytes)
    add(this.live, bytes)
    pack.liveRows++
    pack.liveBytes += bytes
    const sum = this.owners.get(owner) ?? { plainBytes: 0, storedBytes: 0 }
    this.owners.set(owner, sum)
    sum.storedBytes += bytes
    if (page.types[row] === RECORD.chunk) sum.plainBytes += page.plain[row]!
  }

  /** Rows that name none of these packs. */
  strayRows(packs: readonly number[]): number {
    const known = new Set(packs)
    return [...this.packs].reduce((sum, [pack, { rows }]) => sum + (known.has(pack) ? 0 : rows), 0)
  }
}
