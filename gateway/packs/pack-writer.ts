// Appends records to packs for one owner: one pack at a time, a new one when it is full, synced on demand.
import type { PackKind } from './format.ts'
import type { HeldPack, PackOwner, PackPool } from './pack-pool.ts'

/** The limits of appends. */
export interface PackRoom {
  /** Room for one append, to be disposed of when it has ended. QUOTA_EXCEEDED, STORE_FULL, STORE_FAILED. */
  take(tenant: PackOwner, bytes: number): Promise<Disposable>
}

/** What the packs of a writer held at one moment. */
export interface PackCheckpoint {
  readonly packs: readonly { readonly held: HeldPack; readonly bytes: number; readonly sealed: boolean }[]
}

/** Not for concurrent appends: its owner serialises them. */
export class PackWriter implements AsyncDisposable {
  readonly #pool: PackPool
  readonly #tenant: PackOwner
  readonly #kind: PackKind
  readonly #room: PackRoom | null
  #current: HeldPack | null = null
  #full: HeldPack[] = []

  /** With `room`, each append is limited by the tenant's quota and the disk's reserve. */
  constructor(options: { pool: PackPool; tenant: PackOwner; kind: PackKind; room?: PackRoom }) {
    this.#pool = options.pool
    this.#tenant = options.tenant
    this.#kind = options.kind
    this.#room = options.room ?? null
  }

  /**
   * Adds whole records, at most what an empty pack has room for; returns the pack's handle and where in it they begin.
   * STORE_FULL, STORE_FAILED, QUOTA_EXCEEDED.
   */
  async append(bytes: Uint8Array): Promise<{ pack: number; offset: number }> {
    using _room = await this.#room?.take(this.#tenant, bytes.length)
    if (this.#current !== null && this.#current.file.bytes + bytes.length > this.#pool.packBytesMax) {
      this.#full.push(this.#current)
      this.#current = null
    }
    this.#current ??= await this.#pool.acquire(this.#tenant, this.#kind, bytes.length)
    const { id, file } = this.#current
    const offset = file.bytes
    await file.append(bytes)
    return { pack: id, offset }
  }

  /** The packs that hold something not yet acknowledged, with their lengths now. */
  checkpoint(): PackCheckpoint {
    const packs = this.#full.map((held) => ({ held, bytes: held.file.bytes, sealed: true }))
    if (this.#current !== null && this.#current.file.bytes > this.#current.acknowledgedBytes)
      packs.push({ held: this.#current, bytes: this.#current.file.bytes, sealed: false })
    return { packs }
  }

  /** Makes a checkpoint's bytes survive power loss. STORE_FULL, STORE_FAILED. */
  async sync({ packs }: PackCheckpoint): Promise<void> {
    await Promise.all(packs.map(({ held }) => held.file.sync()))
    // from here on a transaction may record them
    for (const { held } of packs) held.recorded = true
  }

  /** Notes that the catalog has the checkpoint, and releases its full packs. */
  async acknowledged({ packs }: PackCheckpoint): Promise<void> {
    for (const { held, bytes, sealed } of packs) {
      held.acknowledgedBytes = bytes
      if (!sealed) continue
      this.#full = this.#full.filter((other) => other !== held)
      await held.file[Symbol.asyncDispose]()
    }
  }

  /** Releases the packs; what was not acknowledged is never referenced. */
  async [Symbol.asyncDispose](): Promise<void> {
    const held = this.#full.splice(0)
    if (this.#current !== null) held.push(this.#current)
    this.#current = null
    for (const pack of held) await this.#pool.release(pack)
  }
}
