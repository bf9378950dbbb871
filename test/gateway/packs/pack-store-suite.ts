// The conformance suite of pack stores: what every engine must do, called by each engine's own test.
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { collect, touch } from '../datastore/fixture.ts'
import type { PackName, PackStore } from '../../../gateway/packs/pack-store.ts'

const newName = (tenant: string = randomUUID()): PackName => ({ tenant, pack: randomUUID() })
const HEADER = Buffer.from('header')

const listed = async (store: PackStore): Promise<string[]> =>
  (await collect(store.list())).map((entry) => ('name' in entry ? entry.name.pack : `? ${entry.unknown}`)).sort()

/** `open` opens the same store again each time, as a restarted program would. */
export const packStoreSuite = (
  engine: string,
  setUp: () => Promise<{ open: () => Promise<PackStore> } & AsyncDisposable>,
): void => {
  describe(`${engine} pack store`, () => {
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
      await store.remove(name)
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
      await store.remove(names[0]!)
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
      }
      for (let round = 0; round < 3; round++) {
        const read = await Promise.all(names.map((name) => store.read(name, 6, 1)))
        expect(read.map((bytes) => bytes[0])).toEqual(names.map((_, index) => index))
      }
    })
  })
}
