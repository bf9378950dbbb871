// A second look at quarantine: what a bad moment of a disk or memory took out of the index must not be lost for good.
import { open } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { recheck } from '../../../gateway/maintenance/recheck.ts'
import { verifyPoints } from '../../../gateway/maintenance/verify.ts'
import { Damager } from '../../support/damage.ts'
import { Stand } from '../chains/script.ts'
import { changed, collected, contextOf, randomDisk, readImage, removePoints } from './stand.ts'

const verify = (stand: Stand) =>
  verifyPoints(contextOf(stand), { point: null, machine: null, olderThanDays: null, bytesPerSecond: null })

/** Turns one bit of a record that the damager flipped back. */
const mend = async ({ file, offset }: { file: string; offset: number }, before: Buffer): Promise<void> => {
  await using handle = await open(file, 'r+')
  await handle.write(before, 0, before.length, offset)
}

const bytesAt = async ({ file, offset }: { file: string; offset: number }): Promise<Buffer> => {
  await using handle = await open(file, 'r')
  const bytes = Buffer.alloc(64)
  const { bytesRead } = await handle.read(bytes, 0, 64, offset)
  return bytes.subarray(0, bytesRead)
}

test('a root that read bad once survives any number of collections', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const machine = await stand.machine('db1')
  const plains = randomDisk(200)
  const { root } = await stand.point(machine, plains, 30)
  const before = await bytesAt(damager.place(root!))
  const place = await damager.flip(root!)
  await expect(collected(stand)).rejects.toMatchObject({ code: 'TREE_UNREADABLE' })
  await mend(place, before)
  expect(await collected(stand)).toMatchObject({ dead: { records: 0 }, missing: 0 })
  expect(await readImage(stand, root, 200)).toEqual(plains)
  expect(await verify(stand)).toMatchObject({ good: 1, damagedCount: 0, lostCount: 0 })
})

test('a chunk that read bad once survives the rewriting of its pack', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const machine = await stand.machine('db1')
  const plains = randomDisk(200)
  const old = await stand.point(machine, plains, 30)
  const second = changed(plains, ...Array.from({ length: 120 }, (_, index) => index))
  const { root } = await stand.point(machine, second, 40)
  removePoints(stand, old.id)
  const id = stand.idOf(second[150]!)
  const before = await bytesAt(damager.place(id))
  const place = await damager.flip(id)
  expect(await verify(stand)).toMatchObject({ good: 0, damagedCount: 1, lostCount: 1 })
  await mend(place, before)
  const report = await collected(stand)
  expect(report.packs.rewritten).toBeGreaterThan(0)
  expect(await readImage(stand, root, 200)).toEqual(second)
  expect(await verify(stand)).toMatchObject({ good: 1, damagedCount: 0, lostCount: 0 })
})

test('what is still damaged stays out, and so does what has another copy by now or another content', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const machine = await stand.machine('db1')
  const plains = randomDisk(20)
  const { root } = await stand.point(machine, plains, 30)
  const places = new Map<number, { place: { file: string; offset: number }; before: Buffer }>()
  for (const index of [3, 7]) {
    const before = await bytesAt(damager.place(stand.idOf(plains[index]!)))
    places.set(index, { place: await damager.flip(stand.idOf(plains[index]!)), before })
  }
  expect(await verify(stand)).toMatchObject({ damagedCount: 2 })
  expect(await recheck(contextOf(stand))).toBe(0)
  // it comes again, and only then its old place is whole
  await stand.point(machine, plains, 40)
  const fresh = damager.place(stand.idOf(plains[3]!))
  for (const { place, before } of places.values()) await mend(place, before)
  expect(await recheck(contextOf(stand))).toBe(0)
  expect(damager.place(stand.idOf(plains[3]!))).toEqual(fresh)
  expect(await readImage(stand, root, 20)).toEqual(plains)
})
