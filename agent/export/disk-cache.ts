// Plain chunks on disk by their ids, in one file without a name: it is gone with the process, however that ends.
import { randomUUID } from 'node:crypto'
import { open, rm, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { equalBytes } from '../../protocol/chunk.ts'
import { asVarveError, type VarveError } from '../../protocol/errors.ts'
import { fileError } from '../../protocol/host/file-error.ts'
import { ownBytes } from '../../protocol/host/bytes.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'

/** Chunks that wait to be written; further ones are not kept. */
const WRITING_MAX = 64

export interface DiskCacheOptions {
  readonly folder: string
  readonly bytesMax: number
  /** Room for one chunk, in bytes. */
  readonly chunkBytes: number
  readonly idKey: Uint8Array
  /** Told once, when the file cannot be written any more: what is not kept is fetched again. */
  readonly onFailure: (error: VarveError) => void
}

export class DiskCache implements AsyncDisposable {
  readonly #options: DiskCacheOptions
  readonly #file: FileHandle
  readonly #slots: number
  /** The least recently used one first. */
  readonly #places = new Map<string, number>()
  readonly #free: number[] = []
  #used = 0
  #writing = 0
  #failed = false
  #written: Promise<unknown> = Promise.resolve()

  private constructor(file: FileHandle, options: DiskCacheOptions) {
    this.#file = file
    this.#options = options
    this.#slots = Math.floor(options.bytesMax / options.chunkBytes)
  }

  /** CONFIG_INVALID where the folder cannot be written to. */
  static async open(options: DiskCacheOptions): Promise<DiskCache> {
    const file = path.join(options.folder, `.varve-export-${randomUUID()}`)
    try {
      const handle = await open(file, 'wx+', 0o600)
      await rm(file)
      return new DiskCache(handle, options)
    } catch (thrown) {
      throw fileError(options.folder, thrown)
    }
  }

  has(name: string): boolean {
    return this.#places.has(name)
  }

  /** A chunk of this length with this id; null where the file does not have it, or has something else. */
  async get(name: string, id: Uint8Array, length: number): Promise<Uint8Array | null> {
    const slot = this.#places.get(name)
    if (slot === undefined) return null
    this.#places.delete(name)
    this.#places.set(name, slot)
    const plain = new Uint8Array(length)
    const { chunkBytes, idKey } = this.#options
    try {
      const { bytesRead } = await this.#file.read(plain, 0, length, slot * chunkBytes)
      if (bytesRead === length && equalBytes(keyedHash(idKey, plain), id)) return plain
    } catch {
      // it is fetched again
    }
    if (this.#places.get(name) !== slot) return null
    this.#places.delete(name)
    this.#free.push(slot)
    return null
  }

  /** Keeps a chunk some time later, or not where too many wait. */
  put(name: string, plain: Uint8Array): void {
    if (this.#failed || this.#places.has(name) || this.#writing >= WRITING_MAX) return
    const slot = this.#slot()
    if (slot === null) return
    this.#writing++
    // what it lies in may be used again before
    const bytes = ownBytes(plain)
    this.#written = this.#written
      .then(() => this.#file.write(bytes, 0, bytes.length, slot * this.#options.chunkBytes))
      .then(
        () => this.#keep(name, slot),
        (thrown: unknown) => this.#fail(thrown),
      )
      .finally(() => this.#writing--)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#failed = true
    await this.#written
    await this.#file.close()
  }

  /** A free place, or that of the chunk that was used least recently; null where all are being written to. */
  #slot(): number | null {
    const free = this.#free.pop()
    if (free !== undefined) return free
    if (this.#used < this.#slots) return this.#used++
    const [oldest] = this.#places
    if (oldest === undefined) return null
    this.#places.delete(oldest[0])
    return oldest[1]
  }

  #keep(name: string, slot: number): void {
    // the same chunk may have come for two disks
    const other = this.#places.get(name)
    if (other !== undefined) this.#free.push(other)
    this.#places.set(name, slot)
  }

  #fail(thrown: unknown): void {
    if (this.#failed) return
    this.#failed = true
    this.#options.onFailure(asVarveError(thrown))
  }
}
