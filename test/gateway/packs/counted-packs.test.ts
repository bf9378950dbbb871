// Counted packs: they are packs like any other, and its count is the length of the files whatever happens.
import { randomUUID } from 'node:crypto'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import { CountedPacks } from '../../../gateway/packs/counted-packs.ts'
import { DirectoryPackStore } from '../../../gateway/packs/directory/directory-pack-store.ts'
import type { PackEntry, PackFile, PackName, Packs } from '../../../gateway/packs/pack-store.ts'
import { Quotas } from '../../../gateway/datastore/quota.ts'
import { memoryLog, temporaryFolder } from '../datastore/fixture.ts'
import { packsSuite } from './pack-store-suite.ts'

const quotasOf = (): Quotas => new Quotas({ log: memoryLog(), nowMs: () => 0 })
const nameOf = (tenant: string): PackName => ({ tenant, pack: randomUUID() })
const BYTES = Buffer.alloc(1000, 7)

packsSuite('counted', async () => {
  const folder = await temporaryFolder()
  return {
    open: async () => {
      const store = await DirectoryPackStore.open(path.join(folder.path, 'packs'))
      const close = (): Promise<void> => store[Symbol.asyncDispose]()
      return Object.assign(new CountedPacks(store, quotasOf()), { [Symbol.asyncDispose]: close })
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  }
})

/** A store whose appends and packs fail in their middle when told to, leaving a part in the file. */
class HalfWay implements Packs {
  readonly #store: Packs
  failing = false

  constructor(store: Packs) {
    this.#store = store
  }

  get costs(): Packs['costs'] {
    return this.#store.costs
  }

  async create(name: PackName, header: Uint8Array): Promise<PackFile> {
    const file = await this.#store.create(name, this.failing ? header.subarray(0, 3) : header)
    if (!this.failing) return this.#file(file)
    await file[Symbol.asyncDispose]()
    throw new VarveError('STORE_FULL', 'no space left')
  }

  async open(name: PackName, bytes: number): Promise<PackFile> {
    return this.#file(await this.#store.open(name, bytes))
  }

  read(name: PackName, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#store.read(name, offset, length)
  }

  size(name: PackName): Promise<number | null> {
    return this.#store.size(name)
  }

  remove(names: readonly PackName[]): ReturnType<Packs['remove']> {
    return this.#store.remove(names)
  }

  list(): AsyncIterable<PackEntry> {
    return this.#store.list()
  }

  #file(file: PackFile): PackFile {
    let lengthKnown = file.bytes
    let broken = false
    const append = async (bytes: Uint8Array): Promise<void> => {
      if (broken) throw new VarveError('STORE_FAILED', 'broken')
      await file.append(this.failing ? bytes.subarray(0, bytes.length / 2) : bytes)
      broken = this.failing
      if (broken) throw new VarveError('STORE_FULL', 'no space left')
      lengthKnown = file.bytes
    }
    return {
      get bytes() {
        return lengthKnown
      },
      get broken() {
        return broken
      },
      append,
      sync: () => file.sync(),
      [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
    }
  }
}

test('packs count as they are made, grow and go, for their own tenant', async () => {
  await using folder = await temporaryFolder()
  await using directory = await DirectoryPackStore.open(path.join(folder.path, 'packs'))
  const quotas = quotasOf()
  const store = new CountedPacks(directory, quotas)
  const [one, two] = [randomUUID(), randomUUID()]
  const name = nameOf(one)
  {
    await using file = await store.create(name, BYTES.subarray(0, 48))
    expect(quotas.usedBytes(one)).toBe(48)
    await file.append(BYTES)
    await file.append(BYTES.subarray(0, 10))
  }
  expect(quotas.usedBytes(one)).toBe(1058)
  {
    await using file = await store.open(name, 1058)
    await file.append(BYTES)
  }
  await expect(store.create(name, BYTES)).rejects.toMatchObject({ code: 'EXISTS' })
  expect(quotas.usedBytes(one)).toBe(2058)
  await (await store.create(nameOf(two), BYTES))[Symbol.asyncDispose]()
  expect([quotas.usedBytes(one), quotas.usedBytes(two)]).toEqual([2058, 1000])
  await store.remove([name])
  await store.remove([name])
  expect([quotas.usedBytes(one), quotas.usedBytes(two)]).toEqual([0, 1000])
})

test('what a failed append or a failed pack left in its file counts, and goes with it', async () => {
  await using folder = await temporaryFolder()
  const packs = path.join(folder.path, 'packs')
  await using directory = await DirectoryPackStore.open(packs)
  const half = new HalfWay(directory)
  const quotas = quotasOf()
  const store = new CountedPacks(half, quotas)
  const tenant = randomUUID()
  const name = nameOf(tenant)
  {
    await using file = await store.create(name, BYTES.subarray(0, 48))
    await file.append(BYTES)
    half.failing = true
    await expect(file.append(BYTES)).rejects.toMatchObject({ code: 'STORE_FULL' })
    await expect(file.append(BYTES)).rejects.toMatchObject({ code: 'STORE_FAILED' })
  }
  const file = path.join(packs, tenant, name.pack.slice(0, 2), `${name.pack}.pack`)
  expect(quotas.usedBytes(tenant)).toBe((await stat(file)).size)
  const failed = nameOf(tenant)
  await expect(store.create(failed, BYTES)).rejects.toMatchObject({ code: 'STORE_FULL' })
  expect(quotas.usedBytes(tenant)).toBe(1548 + 3)
  await store.remove([failed, name])
  expect(quotas.usedBytes(tenant)).toBe(0)
})
