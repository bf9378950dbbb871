// Damage that a history does to packs between two lives, and what it must be found to touch: every place of every restore
// point that needs the record.
import { existsSync, statSync, unlinkSync } from 'node:fs'
import path from 'node:path'
import { PACKS_NAME } from '../../gateway/folder/layout.ts'
import { RECORD, RECORD_HEADER_BYTES, recordBytes } from '../../gateway/packs/format.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'
import { hex } from '../../protocol/chunk.ts'
import { childSpan, nodeKey, TreeBuilder } from '../../protocol/image-tree.ts'
import { indexedRecords, type IndexedRecord } from '../support/catalog-damage.ts'
import type { Dice } from '../support/model-dice.ts'
import { chunkAt, CHUNK_BYTES, type DiskContent } from './contents.ts'
import { flipBit } from './data-folder.ts'
import type { ModelPoint } from './state.ts'

/** A part of a disk, in bytes. */
export interface Range {
  readonly disk: string
  readonly from: number
  readonly to: number
}

export class Damage {
  /** Whether this is just what the store must find: nothing else was done to it, and nothing has healed unseen. */
  exact = true
  /** Hex ids by tenant's name. */
  readonly #ids = new Map<string, Set<string>>()
  readonly #keys: ReadonlyMap<string, Uint8Array>
  readonly #folder: string
  /** Where each record of a point lies, by the point's id and the record's. */
  readonly #places = new Map<string, Map<string, Range[]>>()

  /** `keys` are the id keys of the tenants, by name. */
  constructor(folder: string, keys: ReadonlyMap<string, Uint8Array>) {
    this.#folder = folder
    this.#keys = keys
  }

  /** How many records, of chunks and nodes, points need. */
  needed(points: readonly ModelPoint[]): number {
    return new Set(points.flatMap((point) => [...this.#placesOf(point).keys()])).size
  }

  /** Spoils a record that some of the points need, or removes a pack of such records; what it did, in words. */
  strike(points: readonly ModelPoint[], dice: Dice): { readonly told: string; readonly records: number } {
    const all = indexedRecords(this.#folder)
    const nodesOnly = dice.chance(0.3)
    // what nobody needs now a later upload may rely on, without looking at it
    const needed = (row: IndexedRecord): boolean =>
      points.some((point) => point.tenant === row.tenant && this.#placesOf(point).has(hex(row.id)))
    const rows = all.filter((one) => (!nodesOnly || one.type === RECORD.node) && needed(one))
    const nothing = { told: 'nothing to damage', records: 0 }
    if (rows.length === 0) return nothing
    const row = rows[dice.below(rows.length)]!
    const file = this.#fileOf(row)
    if (!existsSync(file)) return nothing
    const neighbours = all.filter(({ pack }) => pack === row.pack)
    if (dice.chance(0.2) && neighbours.every((one) => one.type > RECORD.node || needed(one))) {
      unlinkSync(file)
      for (const one of neighbours) this.#add(one)
      return { told: `pack ${row.pack} with ${neighbours.length} records is gone`, records: neighbours.length }
    }
    // what is stored together is lost together
    const parts = neighbours.filter(({ offset }) => offset === row.offset)
    const bytes = recordBytes(row.stored, row.parts)
    if (statSync(file).size < row.offset + bytes || !parts.every(needed)) return nothing
    const at = row.offset + dice.below(bytes)
    flipBit(file, at, 1 << dice.below(8))
    for (const one of parts) this.#add(one)
    const told = `a bit of ${hex(row.id)} (type ${row.type}) of ${row.tenant} in ${row.pack} at ${at}`
    return { told, records: parts.length }
  }

  /** All records of these packs cannot be read. */
  hidePacks(packs: readonly string[]): void {
    for (const record of indexedRecords(this.#folder)) if (packs.includes(record.pack)) this.#add(record)
  }

  /** These records, of whichever tenant, cannot be found. */
  hideIds(ids: readonly Uint8Array[]): void {
    for (const tenant of this.#keys.keys()) for (const id of ids) this.#add({ tenant, id, type: RECORD.chunk })
  }

  /** Chooses a tree node that some of the points need; where a bit of it lies. */
  chooseNode(points: readonly ModelPoint[], dice: Dice): { readonly file: string; readonly at: number } | null {
    const rows = indexedRecords(this.#folder, RECORD.node)
      .filter((row) => existsSync(this.#fileOf(row)))
      .filter((row) => points.some((point) => point.tenant === row.tenant && this.#placesOf(point).has(hex(row.id))))
    if (rows.length === 0) return null
    const row = dice.pick(rows)
    this.#add(row)
    return { file: this.#fileOf(row), at: row.offset + dice.below(RECORD_HEADER_BYTES + row.stored) }
  }

  /** Whether anything that the point needs was damaged and has not come again. */
  touches(point: ModelPoint): boolean {
    const damaged = this.#ids.get(point.tenant)
    if (damaged === undefined || damaged.size === 0) return false
    const places = this.#placesOf(point)
    return [...damaged].some((id) => places.has(id))
  }

  /** What of a point cannot be read any more, in order, neighbours as one. */
  lost(point: ModelPoint): Range[] {
    const damaged = this.#ids.get(point.tenant)
    if (damaged === undefined || damaged.size === 0) return []
    const places = this.#placesOf(point)
    const all = [...damaged].flatMap((id) => places.get(id) ?? [])
    return merged(all)
  }

  /** A verification of a tenant has found all of it: from now on uploads bring it again. */
  readonly found = new Set<string>()

  /** An upload of these disks, read in full after the damage was found, was committed: what it has is there again. */
  heal(point: ModelPoint): void {
    const damaged = this.#ids.get(point.tenant)
    if (damaged === undefined) return
    for (const id of this.#placesOf(point).keys()) damaged.delete(id)
  }

  /** Everything is whole again. */
  forget(): void {
    this.#ids.clear()
    this.found.clear()
    this.exact = true
  }

  #fileOf({ tenantId, pack }: IndexedRecord): string {
    return path.join(this.#folder, PACKS_NAME, tenantId, pack.slice(0, 2), `${pack}.pack`)
  }

  #add({ tenant, id, type }: Pick<IndexedRecord, 'tenant' | 'id' | 'type'>): void {
    // other records cost no bytes of a disk
    if (type !== RECORD.chunk && type !== RECORD.node) return
    const ids = this.#ids.get(tenant) ?? new Set()
    this.#ids.set(tenant, ids.add(hex(id)))
    this.found.delete(tenant)
  }

  #placesOf(point: ModelPoint): ReadonlyMap<string, readonly Range[]> {
    let places = this.#places.get(point.id)
    if (places === undefined) {
      places = placesOf(point.disks, this.#keys.get(point.tenant)!)
      this.#places.set(point.id, places)
    }
    return places
  }
}

const placesOf = (disks: readonly DiskContent[], idKey: Uint8Array): Map<string, Range[]> => {
  const places = new Map<string, Range[]>()
  const add = (id: Uint8Array, range: Range): void => {
    const name = hex(id)
    places.set(name, [...(places.get(name) ?? []), range])
  }
  for (const disk of disks) {
    const range = (position: number, chunks: number): Range => ({
      disk: disk.name,
      from: position * CHUNK_BYTES,
      to: Math.min((position + chunks) * CHUNK_BYTES, disk.size),
    })
    const builder = new TreeBuilder({
      chunks: disk.chunks.length,
      hash: keyedHash,
      nodeKey: nodeKey(keyedHash, idKey),
      onNode: ({ id, level, position }) => add(id, range(position, childSpan(level + 1))),
    })
    for (const [index, content] of disk.chunks.entries()) {
      const id = content === 0 ? null : keyedHash(idKey, chunkAt(disk, index))
      if (id !== null) add(id, range(index, 1))
      builder.place(0, id)
    }
    builder.finish()
  }
  return places
}

/** Ranges in order, neighbours as one. */
export const merged = (ranges: readonly Range[]): Range[] => {
  const sorted = ranges.toSorted((a, b) => (a.disk === b.disk ? a.from - b.from : a.disk < b.disk ? -1 : 1))
  const all: { disk: string; from: number; to: number }[] = []
  for (const range of sorted) {
    const last = all.at(-1)
    if (last?.disk === range.disk && range.from <= last.to) last.to = Math.max(last.to, range.to)
    else all.push({ ...range })
  }
  return all
}
