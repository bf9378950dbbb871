// Packs with a count of each tenant's bytes.
import { asVarveError, type VarveError } from '../../protocol/errors.ts'
import type { PackCosts, PackEntry, PackFile, PackName, Packs } from './pack-store.ts'

/** Who keeps the count, by the tenant's uuid. */
export interface PackCount {
  add(tenant: string, bytes: number): void
}

/** The length that was found, or `otherwise` where there is none or it cannot be read. */
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
      // part of it may be there; if the disk cannot even tell, the next start corrects the count
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

/** Everything that makes, grows or removes packs goes through it. */
export class CountedPacks implements Packs {
  readonly #packs: Packs
  readonly #count: PackCount

  constructor(packs: Packs, count: PackCount) {
    this.#packs = packs
    this.#count = count
  }

  get costs(): PackCosts {
    return this.#packs.costs
  }

  async create(name: PackName, header: Uint8Array): Promise<PackFile> {
    try {
      const file = await this.#packs.create(name, header)
      this.#count.add(name.tenant, file.bytes)
      return this.#counted(name, file)
    } catch (error) {
      if (asVarveError(error).code !== 'EXISTS') this.#count.add(name.tenant, await this.#sizeNow(name))
      throw error
    }
  }

  async open(name: PackName, bytes: number): Promise<PackFile> {
    return this.#counted(name, await this.#packs.open(name, bytes))
  }

  read(name: PackName, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#packs.read(name, offset, length)
  }

  size(name: PackName): Promise<number | null> {
    return this.#packs.size(name)
  }

  async remove(names: readonly PackName[]): Promise<ReadonlyMap<string, VarveError>> {
    const before = await this.#sizesNow(names)
    try {
      return await this.#packs.remove(names)
    } finally {
      const after = await this.#sizesNow(names)
      for (const [index, { tenant }] of names.entries()) this.#count.add(tenant, after[index]! - before[index]!)
    }
  }

  list(tenant?: string): AsyncIterable<PackEntry> {
    return this.#packs.list(tenant)
  }

  #sizesNow(names: readonly PackName[]): Promise<number[]> {
    return Promise.all(names.map((name) => this.#sizeNow(name)))
  }

  async #sizeNow(name: PackName): Promise<number> {
    return await sizeOr(() => this.#packs.size(name), 0)
  }

  #counted(name: PackName, file: PackFile): PackFile {
    return new CountedPackFile(
      file,
      (bytes) => this.#count.add(name.tenant, bytes),
      () => this.#packs.size(name),
    )
  }
}
