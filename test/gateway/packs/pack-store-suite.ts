// The conformance suite of pack stores: what every engine must do, called by each engine's own test. It is the specification.
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { collect, touch } from '../datastore/fixture.ts'
import { PACK_BYTES_MAX, PACK_HEADER_BYTES } from '../../../gateway/packs/format.ts'
import type { PackName, Packs, PackStore } from '../../../gateway/packs/pack-store.ts'

const newName = (tenant: string = randomUUID()): PackName => ({ tenant, pack: randomUUID() })
const HEADER = Buffer.from('header')

const listed = async (store: Packs, tenant?: string): Promise<string[]> =>
  (await collect(store.list(tenant))).map((entry) => ('name' in entry ? entry.name.pack : `? ${entry.unknown}`)).sort()

/** The packs alone; `open` opens the same store again each time, as a restarted program would. */
export const packsSuite = (
  engine: string,
  setUp: () => Promise<{ open: () => Promise<Packs & AsyncDisposable> } & AsyncDisposable>,
): void => {
  describe(`${engine} packs`, () => {
    test('what was appended and synced reads back, also after a reopen', async () => {
      await using place = await setUp()
      const name = newName()
      {
        await using store = await place.open()
        await using file = await store.create(name, HEADER)
        expect(file.bytes).toBe(6)
        await file.append(Buffer.from('one'))
        await file.append(Buffer.from('two'))
        expect(file.bytes).toBe(12)
        await file.sync()
        expect(Buffer.from(await store.read(name, 6, 6)).toString()).toBe('onetwo')
      }
      await using store = await place.open()
      expect(await store.size(name)).toBe(12)
      await using file = await store.open(name, 12)
      await file.append(Buffer.from('three'))
      await file.sync()
      expect(Buffer.from(await store.read(name, 0, 17)).toString()).toBe('headeronetwothree')
      expect((await store.read(name, 3, 0)).length).toBe(0)
    })

    test('a range past the end is damage, never short', async () => {
      await using place = await setUp()
      await using store = await place.open()
      const name = newName()
      await touch(store.create(name, HEADER))
      for (const [offset, length] of [
        [0, 7],
        [6, 1],
        [1000, 1],
      ] as const)
        await expect(store.read(name, offset, length)).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
    })

    test('each read is a buffer of its own', async () => {
      await using place = await setUp()
      await using store = await place.open()
      const name = newName()
      await touch(store.create(name, HEADER))
      const bytes = await store.read(name, 2, 3)
      expect([bytes.byteOffset, bytes.buffer.byteLength]).toEqual([0, 3])
    })

    test('a name is used once', async () => {
      await using place = await setUp()
      await using store = await place.open()
      const name = newName()
      await touch(store.create(name, HEADER))
      await expect(store.create(name, HEADER)).rejects.toMatchObject({ code: 'EXISTS' })
      expect(await store.size(name)).toBe(6)
    })

    test('a pack of another length is not opened for appending', async () => {
      await using place = await setUp()
      await using store = await place.open()
      const name = newName()
      await touch(store.create(name, HEADER))
      for (const bytes of [5, 7]) await expect(store.open(name, bytes)).rejects.toMatchObject({ code: 'DATA_DAMAGED' })
      expect(Buffer.from(await store.read(name, 0, 6)).toString()).toBe('header')
    })

    test('a pack that is not there is NOT_FOUND, has no size, and may be removed', async () => {
      await using place = await setUp()
      await using store = await place.open()
      const name = newName()
      await expect(store.read(name, 0, 1)).rejects.toMatchObject({ code: 'NOT_FOUND' })
      await expect(store.open(name, 0)).rejects.toMatchObject({ code: 'NOT_FOUND' })
      expect(await store.size(name)).toBe(null)
      expect(await store.remove([name])).toEqual(new Map())
    })

    test('lists exactly the packs there are', async () => {
      await using place = await setUp()
      await using store = await place.open()
      expect(await listed(store)).toEqual([])
      const tenant = randomUUID()
      const names = [newName(tenant), newName(tenant), newName()]
      for (const name of names) await touch(store.create(name, HEADER))
      expect(await listed(store)).toEqual(names.map(({ pack }) => pack).sort())
      await store.read(names[0]!, 0, 1)
      await store.remove([names[0]!])
      expect(await listed(store)).toEqual(
        names
          .slice(1)
          .map(({ pack }) => pack)
          .sort(),
      )
      await expect(store.read(names[0]!, 0, 1)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    })

    test('tenants are apart: the same pack name of another tenant is another pack', async () => {
      await using place = await setUp()
      await using store = await place.open()
      const [one, other] = [newName(), newName()]
      await touch(store.create(one, HEADER))
      await expect(store.read({ tenant: other.tenant, pack: one.pack }, 0, 1)).rejects.toMatchObject({
        code: 'NOT_FOUND',
      })
    })

    test.each(['..', '../../etc', '', 'a/b', '.'])('%j is refused as a name', async (bad) => {
      await using place = await setUp()
      await using store = await place.open()
      const good = randomUUID()
      for (const name of [
        { tenant: bad, pack: good },
        { tenant: good, pack: bad },
      ]) {
        await expect(store.create(name, HEADER)).rejects.toMatchObject({ code: 'INTERNAL' })
        await expect(store.read(name, 0, 1)).rejects.toMatchObject({ code: 'INTERNAL' })
      }
    })

    test('more packs are read at once than are kept open', async () => {
      await using place = await setUp()
      await using store = await place.open()
      const tenant = randomUUID()
      const names = Array.from({ length: 200 }, () => newName(tenant))
      for (const [index, name] of names.entries()) {
        await using file = await store.create(name, HEADER)
        await file.append(Buffer.from([index]))
        await file.sync()
      }
      for (let round = 0; round < 3; round++) {
        const read = await Promise.all(names.map((name) => store.read(name, 6, 1)))
        expect(read.map((bytes) => bytes[0])).toEqual(names.map((_, index) => index))
      }
    })

    test('what was synced by any number of syncs reads as one, whatever the range', async () => {
      await using place = await setUp()
      await using store = await place.open()
      const name = newName()
      const bytes = Buffer.from(Array.from({ length: 1000 }, (_, index) => index % 251))
      {
        await using file = await store.create(name, bytes.subarray(0, 48))
        for (let from = 48; from < 1000; from += 136) {
          await file.append(bytes.subarray(from, from + 40))
          await file.append(bytes.subarray(from + 40, from + 136))
          await file.sync()
        }
        await file.sync()
      }
      expect(await store.size(name)).toBe(1000)
      for (const [offset, length] of [
        [0, 1000],
        [0, 48],
        [47, 2],
        [100, 500],
        [183, 2],
        [999, 1],
        [1000, 0],
      ] as const)
        expect(Buffer.from(await store.read(name, offset, length))).toEqual(bytes.subarray(offset, offset + length))
    })

    test('of two who make a pack of one name at once, one does', async () => {
      await using place = await setUp()
      await using store = await place.open()
      await using other = await place.open()
      const name = newName()
      const made = await Promise.allSettled([store, other].map((one) => touch(one.create(name, HEADER))))
      expect(made.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
      expect(made.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { code: 'EXISTS' } })
    })

    test('many are removed with one call, and what cannot be is told by name', async () => {
      await using place = await setUp()
      await using store = await place.open()
      const tenant = randomUUID()
      const names = Array.from({ length: 20 }, () => newName(tenant))
      for (const name of names) await touch(store.create(name, HEADER))
      const bad = { tenant, pack: 'no uuid' }
      const failed = await store.remove([...names.slice(0, 10), bad, newName(), ...names.slice(11)])
      expect([...failed.keys()]).toEqual(['no uuid'])
      expect(await listed(store)).toEqual([names[10]!.pack])
      expect(await store.remove([])).toEqual(new Map())
    })

    test("one tenant's packs are listed alone", async () => {
      await using place = await setUp()
      await using store = await place.open()
      const [one, two, other] = [newName(), newName(), newName()]
      for (const name of [one, two, other]) await touch(store.create(name, HEADER))
      expect(await listed(store, two.tenant)).toEqual([two.pack])
      expect(await listed(store, randomUUID())).toEqual([])
      expect(await listed(store)).toHaveLength(3)
    })

    test('what is read while it is written is what was synced', async () => {
      await using place = await setUp()
      await using store = await place.open()
      await using reader = await place.open()
      const name = newName()
      await using file = await store.create(name, HEADER)
      for (let round = 0; round < 5; round++) {
        await file.append(Buffer.from('abc'))
        await file.sync()
        for (const one of [store, reader])
          expect(Buffer.from(await one.read(name, 6 + 3 * round, 3)).toString()).toBe('abc')
        expect(await reader.size(name)).toBe(file.bytes)
      }
    })

    test('it says what its requests cost', async () => {
      await using place = await setUp()
      await using store = await place.open()
      expect(store.costs.concurrency).toBeGreaterThanOrEqual(1)
      expect(store.costs.readGapBytes).toBeGreaterThanOrEqual(0)
    })
  })
}

/** The packs, and what makes them a store; `open` opens the same one each time, with a mark where one is named. */
export const packStoreSuite = (
  engine: string,
  setUp: () => Promise<{ open: (id?: string) => Promise<PackStore> } & AsyncDisposable>,
): void => {
  packsSuite(engine, setUp)
  packsSuite(`${engine} marked`, async () => {
    const place = await setUp()
    const id = randomUUID()
    {
      await using store = await place.open()
      await store.mark(id)
    }
    return { open: () => place.open(id), [Symbol.asyncDispose]: () => place[Symbol.asyncDispose]() }
  })

  describe(`${engine} pack store`, () => {
    test('it is known again by its mark, and by no other', async () => {
      await using place = await setUp()
      const id = randomUUID()
      {
        await using store = await place.open()
        expect(store.id).toBe(null)
        await store.confirm()
        await expect(place.open(id)).rejects.toMatchObject({ code: 'STORE_FAILED' })
        await store.mark(id)
        expect(store.id).toBe(id)
        await store.confirm()
      }
      {
        await using store = await place.open()
        expect(store.id).toBe(id)
      }
      await using store = await place.open(id)
      expect(await listed(store)).toEqual([])
      await expect(place.open(randomUUID())).rejects.toMatchObject({ code: 'STORE_FAILED' })
    })

    test('one gateway at a time has it, until it is closed', async () => {
      await using place = await setUp()
      {
        await using store = await place.open()
        await store.lock()
        await store.mark(randomUUID())
        await using other = await place.open()
        await expect(other.lock()).rejects.toMatchObject({ code: 'STORE_LOCKED' })
        // who only reads needs no lock
        expect(await listed(other)).toEqual([])
      }
      await using next = await place.open()
      await next.lock()
    })

    test('the epoch is what was noted last', async () => {
      await using place = await setUp()
      await using store = await place.open()
      await store.mark(randomUUID())
      expect(await store.epoch()).toBe(null)
      for (const epoch of [0, 41, 12]) {
        await store.layEpoch(epoch)
        expect(await store.epoch()).toBe(epoch)
      }
      await using again = await place.open()
      expect(await again.epoch()).toBe(12)
      expect(await listed(again)).toEqual([])
    })

    test('it says how long packs may be, how much room there is, and what people call it', async () => {
      await using place = await setUp()
      await using store = await place.open()
      expect(store.packBytesMax).toBeGreaterThan(PACK_HEADER_BYTES)
      expect(store.packBytesMax).toBeLessThanOrEqual(PACK_BYTES_MAX)
      expect(store.place).not.toBe('')
      const space = await store.space()
      if (space !== null) expect(space.freeBytes).toBeLessThanOrEqual(space.totalBytes)
    })

    test('what it holds back is no pack, and lends where there is room', async () => {
      await using place = await setUp()
      await using store = await place.open()
      await store.mark(randomUUID())
      expect(await store.ballast.fill(() => false)).toBe(null)
      expect(await store.ballast.lend(1)).toBe(true)
      expect(await store.ballast.drawing(1, async () => 'done')).toBe('done')
      await expect(store.ballast.drawing(1, () => Promise.reject(new Error('other')))).rejects.toThrow('other')
      expect(await listed(store)).toEqual([])
    })
  })
}
