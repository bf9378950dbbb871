// The reserve of the disk: when it is looked at, what is refused, and bytes that were let through but do not show yet.
import { expect, test } from 'vitest'
import { diskSpace, Reserve, RESERVE_BYTES_DEFAULT, type DiskSpace } from '../../../gateway/folder/reserve.ts'
import { temporaryFolder } from '../datastore/fixture.ts'

const GIB = 2 ** 30
const MIB = 2 ** 20

/** A reserve over a disk that a test fills by hand. */
const setUp = (bytes: number | null, disk: { freeBytes: number; totalBytes: number }) => {
  const clock = { nowMs: 5 }
  const state = { looks: 0, held: Promise.resolve() }
  const look = async (): Promise<DiskSpace> => {
    state.looks++
    await state.held
    return { ...disk }
  }
  return { disk, clock, state, reserve: new Reserve({ bytes, nowMs: () => clock.nowMs, look }) }
}

const full = expect.objectContaining({ code: 'STORE_FULL' }) as Error

test('uploads are let through down to the reserve and not below', async () => {
  const { reserve, disk } = setUp(10 * MIB, { freeBytes: 12 * MIB, totalBytes: GIB })
  ;(await reserve.take(2 * MIB))[Symbol.dispose]()
  disk.freeBytes -= 2 * MIB
  await expect(reserve.take(1)).rejects.toEqual(full)
  await expect(reserve.take(1)).rejects.toThrow(/10\.0 MiB free.*reserve of 10\.0 MiB.*prune.*gc/u)
  disk.freeBytes += 1
  // what was freed counts at once
  await reserve.take(1)
})

test('whoever only asks is let through exactly at the reserve', async () => {
  const { reserve } = setUp(10 * MIB, { freeBytes: 10 * MIB, totalBytes: GIB })
  await reserve.take(0)
  const again = setUp(10 * MIB, { freeBytes: 10 * MIB - 1, totalBytes: GIB })
  await expect(again.reserve.take(0)).rejects.toEqual(full)
})

test('the default is a GiB, or 5 % of a disk that is smaller than twenty', async () => {
  const large = setUp(null, { freeBytes: RESERVE_BYTES_DEFAULT, totalBytes: 1000 * GIB })
  await large.reserve.take(0)
  await expect(large.reserve.take(1)).rejects.toEqual(full)
  const small = setUp(null, { freeBytes: 5 * MIB, totalBytes: 100 * MIB })
  await small.reserve.take(0)
  await expect(small.reserve.take(1)).rejects.toEqual(full)
})

test('without a reserve the disk is not looked at', async () => {
  const { reserve, state } = setUp(0, { freeBytes: 0, totalBytes: GIB })
  await reserve.take(GIB)
  expect(state.looks).toBe(0)
})

test('the disk is looked at once a second, or after 64 MiB', async () => {
  const { reserve, state, clock } = setUp(MIB, { freeBytes: GIB, totalBytes: GIB })
  for (let append = 0; append < 64; append++) (await reserve.take(MIB))[Symbol.dispose]()
  expect(state.looks).toBe(1)
  await reserve.take(MIB)
  expect(state.looks).toBe(2)
  clock.nowMs += 999
  await reserve.take(MIB)
  expect(state.looks).toBe(2)
  clock.nowMs += 1
  await reserve.take(MIB)
  expect(state.looks).toBe(3)
})

test('between two looks, and while appends are under way, nothing is given twice', async () => {
  const { reserve, clock } = setUp(10 * MIB, { freeBytes: 14 * MIB, totalBytes: GIB })
  const taken = await Promise.allSettled(Array.from({ length: 8 }, () => reserve.take(MIB)))
  const got = taken.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  expect(got.length).toBe(4)
  // the disk says the same as before: none of the four has been written
  clock.nowMs += 5000
  await expect(reserve.take(1)).rejects.toEqual(full)
  got[0]![Symbol.dispose]()
  clock.nowMs += 5000
  await reserve.take(MIB)
})

test('a disk that cannot be looked at is an error of the datastore', async () => {
  await using folder = await temporaryFolder()
  const real = new Reserve({ look: () => diskSpace(folder.path), bytes: 1, nowMs: () => 0 })
  await real.take(0)
  const gone = new Reserve({ look: () => diskSpace(`${folder.path}/gone`), bytes: 1, nowMs: () => 0 })
  await expect(gone.take(0)).rejects.toMatchObject({ code: 'STORE_FAILED' })
})
