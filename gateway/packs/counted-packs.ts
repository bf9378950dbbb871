// A pack store that keeps count of what each tenant's pack files take.
import { asVarveError } from '../../protocol/errors.ts'
import type { PackFile, PackName, PackStore } from './pack-store.ts'
import type { Quotas } from '../datastore/quota.ts'

/** The length that was found, or `otherwise` where there is none or it cannot be told. */
const sizeOr = async (size: () => Promise<number | null>, otherwise: number): Promise<number> => {
  try {
    return (await size()) ?? otherwise
  } catch {
    return otherwise
  }
}

class CountedPackFile implements PackFile {
  readonly #file: PackFile
  readonly #onGrowth: (bytes: number) => void
  readonly #size: () => Promise<number | null>

  constructor(file: PackFile, onGrowth: (bytes: number) => void, size: () => Promise<number | null>) {
    this.#file = file
    this.#onGrowth = onGrowth
    this.#size = size
  }

  get bytes(): number {
    return this.#file.bytes
  }

  get broken(): boolean {
    return this.#file.broken
  }

  async append(bytes: Uint8Array): Promise<void> {
    const before = this.#file.bytes
    const wasBroken = this.#file.broken
    try {
      await this.#file.append(bytes)
      this.#onGrowth(this.#file.bytes - before)
    } catch (error) {
      // a part of it may be there all the same; a disk that does not even say so is counted right by the next start
      if (!wasBroken) this.#onGrowth((await sizeOr(this.#size, before)) - before)
      throw error
    }
  }

  sync(): Promise<void> {
    return this.#file.sync()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]()
  }
}

/** Whatever makes, grows and removes packs goes through it; closing the store beneath is for who opened that. */
export class CountedPackStore implements PackStore {
  readonly #store: PackStore
  readonly #quotas: Quotas

  constructor(store: PackStore, quotas: Quotas) {
    this.#store = store
    this.#quotas = quotas
  }

  async create(name: PackName, header: Uint8Array): Promise<PackFile> {
    try {
      const file = await this.#store.create(name, header)
      this.#quotas.add(name.tenant, file.bytes)
      return this.#counted(name, file)
    } catch (error) {
      if (asVarveError(error).code !== 'EXISTS') this.#quotas.add(name.tenant, await this.#sizeNow(name))
      throw error
    }
  }

  async open(name: PackName, bytes: number): Promise<PackFile> {
    return this.#counted(name, await this.#store.open(name, bytes))
  }

  read(name: PackName, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#store.read(name, offset, length)
  }

  size(name: PackName): Promise<number | null> {
    return this.#store.size(name)
  }

  async remove(name: PackName): Promise<void> {
    const before = await this.#sizeNow(name)
    try {
      await this.#store.remove(name)
    } finally {
      this.#quotas.add(name.tenant, (await this.#sizeNow(name)) - before)
    }
  }

  list(): ReturnType<PackStore['list']> {
    return this.#store.list()
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #sizeNow(name: PackName): Promise<number> {
    return await sizeOr(() => this.#store.size(name), 0)
  }

  #counted(name: PackName, file: PackFile): PackFile {
    return new CountedPackFile(
      file,
      (bytes) => this.#quotas.add(name.tenant, bytes),
      () => this.#store.size(name),
    )
  }
}
