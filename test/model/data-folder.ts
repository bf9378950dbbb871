// The data folder of a history between two lives, and what mishaps do to its files.
import {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import path from 'node:path'
import { openLocal } from '../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME, LOCK_NAME, PACKS_NAME } from '../../gateway/folder/layout.ts'
import { indexedRecords, renameRecord, settleCatalog } from '../support/catalog-damage.ts'
import type { Dice } from '../support/model-dice.ts'
import type { Mishap } from './mishap.ts'

const KEYS_NAME = 'keys'

const CATALOG_FILES = ['', '-wal', '-shm'].map((end) => `${CATALOG_NAME}${end}`)

interface PackFile {
  readonly uuid: string
  readonly file: string
  /** Where it lies while it is away. */
  readonly away: string
}

/** Flips a bit of a file. */
export const flipBit = (file: string, at: number, bit: number): void => {
  const handle = openSync(file, 'r+')
  const byte = Buffer.alloc(1)
  readSync(handle, byte, 0, 1, at)
  byte[0]! ^= bit
  writeSync(handle, byte, 0, 1, at)
  closeSync(handle)
}

export class DataFolder {
  readonly path: string
  readonly #root: string

  /** `root` holds the folder, and what is taken out of it. */
  constructor(root: string) {
    this.#root = root
    this.path = path.join(root, 'data')
    for (const name of ['data', 'aside', 'away', 'copies', 'kept']) mkdirSync(path.join(root, name))
  }

  /** Moves packs of a kind out of the folder; their uuids, none where none of them is there. */
  async movePacksAway(kind: 'nodes' | 'data', share: number, dice: Dice): Promise<string[]> {
    const all = await this.#packs(kind)
    const chosen = all.filter(() => dice.chance(share))
    const moved = chosen.length > 0 ? chosen : all.slice(0, 1)
    for (const { file, away } of moved) renameSync(file, away)
    return moved.map(({ uuid }) => uuid)
  }

  /** Puts all of them back. */
  movePacksBack(): void {
    for (const name of readdirSync(path.join(this.#root, 'away'))) {
      const [tenant, uuid] = name.split(' ') as [string, string]
      const folder = path.join(this.path, PACKS_NAME, tenant, uuid.slice(0, 2))
      mkdirSync(folder, { recursive: true })
      renameSync(path.join(this.#root, 'away', name), path.join(folder, uuid))
    }
  }

  /** Copies the catalog as it is now; to be put in place again by `putCatalog`. */
  keepCatalog(name: string): void {
    settleCatalog(this.path)
    mkdirSync(path.join(this.#root, name), { recursive: true })
    copyFileSync(path.join(this.path, CATALOG_NAME), path.join(this.#root, name, CATALOG_NAME))
  }

  putCatalog(name: string): void {
    this.removeCatalog()
    cpSync(path.join(this.#root, name), this.path, { recursive: true })
  }

  removeCatalog(): void {
    for (const name of CATALOG_FILES) rmSync(path.join(this.path, name), { force: true })
  }

  /** Whether packs tell of every tenant: a life that died at once may have left one to the catalog alone. */
  async hasStates(): Promise<boolean> {
    using catalog = openLocal(path.join(this.path, CATALOG_NAME))
    const tenants = await catalog.tenants.list()
    const records = await Promise.all(tenants.map(({ id }) => catalog.states.records({ tenant: id })))
    return records.every(({ length }) => length > 0)
  }

  /** Copies of the catalog that lives took, by name. */
  copies(): string[] {
    return readdirSync(path.join(this.#root, 'copies'))
      .toSorted()
      .map((name) => path.join('copies', name))
  }

  /** Flips a bit of the ids of some rows of the index; the ids that are lost with them. */
  flipIds({ count, counted }: Mishap, dice: Dice): Uint8Array[] {
    const ids: Uint8Array[] = []
    settleCatalog(this.path)
    const records = indexedRecords(this.path)
    for (let left = Math.min(count, records.length); left > 0; left--)
      ids.push(...records.splice(dice.below(records.length), 1).map(({ id }) => id))
    if (counted) for (const id of ids) renameRecord(this.path, id, flipped(id, dice))
    const file = path.join(this.path, CATALOG_NAME)
    const bytes = counted ? null : readFileSync(file)
    for (const id of ids) {
      const at = bytes?.indexOf(id) ?? -1
      if (at >= 0) flipBit(file, at + dice.below(id.length), 1 << dice.below(8))
    }
    return ids
  }

  /** Spoils pages of the catalog. */
  garblePages({ count, garbling }: Mishap, dice: Dice): void {
    settleCatalog(this.path)
    const file = path.join(this.path, CATALOG_NAME)
    const pageBytes = readFileSync(file).readUInt16BE(16)
    const pages = statSync(file).size / pageBytes
    for (let left = count; left > 0; left--) {
      const from = dice.below(pages) * pageBytes
      if (garbling === 'bit') {
        flipBit(file, from + dice.below(pageBytes), 1 << dice.below(8))
        continue
      }
      const length = 1 + dice.below(pageBytes)
      const at = from + dice.below(pageBytes - length + 1)
      const handle = openSync(file, 'r+')
      writeSync(handle, garbling === 'zeroes' ? Buffer.alloc(length) : dice.bytes(length), 0, length, at)
      closeSync(handle)
    }
  }

  moveKeysAway(): void {
    renameSync(path.join(this.path, KEYS_NAME), path.join(this.#root, 'kept', KEYS_NAME))
  }

  moveKeysBack(): void {
    renameSync(path.join(this.#root, 'kept', KEYS_NAME), path.join(this.path, KEYS_NAME))
  }

  dropKeptKeys(): void {
    rmSync(path.join(this.#root, 'kept', KEYS_NAME), { recursive: true })
  }

  removeLock(): void {
    rmSync(path.join(this.path, LOCK_NAME), { force: true })
  }

  async #packs(kind: 'nodes' | 'data'): Promise<PackFile[]> {
    using catalog = openLocal(path.join(this.path, CATALOG_NAME))
    return (await catalog.packs.list())
      .filter((pack) => pack.kind === kind)
      .sort((one, other) => one.id - other.id)
      .map(({ uuid, tenant }) => ({
        uuid,
        file: path.join(this.path, PACKS_NAME, tenant, uuid.slice(0, 2), `${uuid}.pack`),
        away: path.join(this.#root, 'away', `${tenant} ${uuid}.pack`),
      }))
      .filter(({ file }) => existsSync(file))
  }
}

const flipped = (id: Uint8Array, dice: Dice): Uint8Array => {
  const other = Uint8Array.from(id)
  other[dice.below(other.length)]! ^= 1 << dice.below(8)
  return other
}
