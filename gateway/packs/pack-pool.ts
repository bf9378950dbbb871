// The packs that are still open: lends each to at most one writer at a time.
import { randomUUID } from 'node:crypto'
import { asVarveError } from '../../protocol/errors.ts'
import { encodePackHeader, PACK_BYTES_MAX, type PackKind } from './format.ts'
import { failpoint } from '../common/failpoint.ts'
import type { DatastoreLog } from '../common/log.ts'
import type { PackFile, PackName, Packs } from './pack-store.ts'

/** Whose packs: the tenant. */
export interface PackOwner {
  /** A uuid. */
  readonly id: string
}

/** The register of existing packs, which the catalog implements. */
export interface PackBook {
  /** The new pack's handle; the book has it before the pack is there. */
  add(pack: { tenant: string; kind: PackKind; uuid: string; nowMs: number }): Promise<number>
  /** Ends packs; the length of each becomes `bytes` where that is more than what was acknowledged. */
  seal(args: { packs: readonly { id: number; bytes: number }[] }): Promise<unknown>
  /** Removes the row of a pack in which nothing was ever acknowledged. */
  forget(pack: { id: number }): Promise<unknown>
}

/** An unsealed pack that no writer has. */
export interface FreePack {
  /** Its handle in the book. */
  readonly id: number
  readonly name: PackName
  readonly kind: PackKind
  /** Length in bytes, all of it acknowledged. */
  readonly bytes: number
}

/** An unsealed pack in a writer's hands. */
export interface HeldPack {
  readonly id: number
  readonly name: PackName
  readonly kind: PackKind
  readonly file: PackFile
  /** Length that the catalog has acknowledged, in bytes. */
  acknowledgedBytes: number
  /** True once a transaction may have recorded something in it, even if it failed. */
  recorded: boolean
}

export class PackPool {
  readonly #store: Packs
  readonly #book: PackBook
  readonly #log: DatastoreLog
  readonly #nowMs: () => number
  /** Length past which nothing is appended to a pack, in bytes. */
  readonly packBytesMax: number
  readonly #free = new Map<string, FreePack[]>()

  constructor(options: {
    store: Packs
    book: PackBook
    log: DatastoreLog
    nowMs: () => number
    packBytesMax?: number
  }) {
    this.packBytesMax = options.packBytesMax ?? PACK_BYTES_MAX
    this.#store = options.store
    this.#book = options.book
    this.#log = options.log
    this.#nowMs = options.nowMs
  }

  /** Makes an unsealed pack available to writers. */
  offer(pack: FreePack): void {
    const key = `${pack.name.tenant} ${pack.kind}`
    const free = this.#free.get(key)
    if (free === undefined) this.#free.set(key, [pack])
    else free.push(pack)
  }

  /** The fullest open pack with room for `bytes`, or a new one. STORE_FULL, STORE_FAILED. */
  async acquire(tenant: PackOwner, kind: PackKind, bytes: number): Promise<HeldPack> {
    for (let free = this.#take(tenant, kind, bytes); free !== null; free = this.#take(tenant, kind, bytes)) {
      try {
        const file = await this.#store.open(free.name, free.bytes)
        return { ...free, file, acknowledgedBytes: free.bytes, recorded: true }
      } catch (thrown) {
        const error = asVarveError(thrown)
        if (error.code === 'STORE_FULL' || error.code === 'STORE_FAILED') {
          this.offer(free)
          throw error
        }
        // it is not as this process left it: nothing more is appended to it
        this.#log.error({ pack: free.name.pack, code: error.code, err: error }, 'an open pack is damaged')
        await this.#seal(free.id, 0)
      }
    }
    return this.#create(tenant, kind)
  }

  /**
   * Takes a pack back; one that holds anything the catalog does not know of is sealed, or removed where nothing was ever
   * recorded.
   */
  async release(held: HeldPack): Promise<void> {
    const { id, name, kind, file } = held
    // bytes of a failed append are there too and count
    const fileBytes = file.broken ? await this.#sizeOf(name, file.bytes) : file.bytes
    const clean = !file.broken && fileBytes === held.acknowledgedBytes
    await file[Symbol.asyncDispose]()
    if (clean && held.recorded) return this.offer({ id, name, kind, bytes: fileBytes })
    if (held.recorded) return this.#seal(id, fileBytes)
    await this.#forget(id, name)
  }

  async #sizeOf(name: PackName, knownBytes: number): Promise<number> {
    try {
      return (await this.#store.size(name)) ?? knownBytes
    } catch {
      return knownBytes
    }
  }

  /** Seals the tenant's open packs that no writer holds. STORE_FULL, STORE_FAILED. */
  async retire(tenant: PackOwner): Promise<void> {
    for (const kind of ['data', 'nodes'] as const) {
      const free = this.#free.get(`${tenant.id} ${kind}`)?.splice(0) ?? []
      failpoint('pack.seal')
      // not offered again where this fails: the catalog may have sealed them nevertheless, and a start settles them
      await this.#book.seal({ packs: free.map(({ id, bytes }) => ({ id, bytes })) })
    }
  }

  #take(tenant: PackOwner, kind: PackKind, bytes: number): FreePack | null {
    const free = this.#free.get(`${tenant.id} ${kind}`) ?? []
    let best = -1
    for (const [index, pack] of free.entries()) {
      if (pack.bytes + bytes > this.packBytesMax) continue
      if (best < 0 || pack.bytes > free[best]!.bytes) best = index
    }
    return best < 0 ? null : free.splice(best, 1)[0]!
  }

  async #create(tenant: PackOwner, kind: PackKind): Promise<HeldPack> {
    const name = { tenant: tenant.id, pack: randomUUID() }
    const id = await this.#book.add({ tenant: tenant.id, kind, uuid: name.pack, nowMs: this.#nowMs() })
    try {
      const file = await this.#store.create(name, encodePackHeader({ kind, ...name }))
      return { id, name, kind, file, acknowledgedBytes: 0, recorded: false }
    } catch (error) {
      await this.#forget(id, name)
      throw error
    }
  }

  /**
   * Removes a pack of this process in which no transaction ever recorded anything: first the file, so that no file is without a
   * row.
   */
  async #forget(id: number, name: PackName): Promise<void> {
    try {
      const failed = (await this.#store.remove([name])).get(name.pack)
      if (failed !== undefined) throw failed
      await this.#book.forget({ id })
    } catch (error) {
      this.#log.warn({ pack: name.pack, err: error }, 'an unused pack is left for the next start to settle')
    }
  }

  async #seal(id: number, bytes: number): Promise<void> {
    try {
      failpoint('pack.seal')
      await this.#book.seal({ packs: [{ id, bytes }] })
    } catch (error) {
      // the next start finds it longer than the catalog says and seals it; this process no longer uses it
      this.#log.warn({ packRow: id, err: error }, 'a pack could not be sealed')
    }
  }
}
