// What is discarded is never asked for again, whatever the disk, its changes, the windows of its map, and the breaks on the way.
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { DISCARD_BYTES, Discards, discardUnchanged, piecesOf } from '../../../agent/nbd/discards.ts'
import { ALLOCATION_CONTEXT, diskExtents, type StatusSource } from '../../../agent/nbd/extents.ts'
import { BITMAP_DIRTY } from '../../../agent/nbd/wire.ts'

const PIECE = DISCARD_BYTES
const BITMAP = 'bitmap'

/** A disk of whole pieces, which refuses to tell of what was discarded, as QEMU does. */
class Disk {
  readonly size: number
  readonly gone: boolean[]
  readonly #changed: readonly boolean[]

  constructor(changed: readonly boolean[]) {
    this.#changed = changed
    this.size = changed.length * PIECE
    this.gone = changed.map(() => false)
  }

  readonly trim = (offset: number, length: number): Promise<void> => {
    expect([offset % PIECE, length % PIECE, length > 0]).toEqual([0, 0, true])
    this.gone.fill(true, offset / PIECE, (offset + length) / PIECE)
    return Promise.resolve()
  }

  /** At most so many pieces in one answer. */
  bitmap(pieces: number): StatusSource {
    return {
      size: this.size,
      blockStatus: async (offset, length) => {
        const flags = this.#changed.slice(offset / PIECE, (offset + length) / PIECE).slice(0, pieces)
        return new Map([[BITMAP, flags.map((is) => ({ length: PIECE, flags: is ? BITMAP_DIRTY : 0 }))]])
      },
    }
  }

  get allocation(): StatusSource {
    return {
      size: this.size,
      blockStatus: async (offset, length) => {
        const asked = this.gone.slice(Math.floor(offset / PIECE), Math.ceil((offset + length) / PIECE))
        expect(asked, `of ${offset}, ${length} bytes`).not.toContain(true)
        return new Map([[ALLOCATION_CONTEXT, [{ length, flags: 0 }]]])
      },
    }
  }
}

const disks = fc.array(fc.boolean(), { minLength: 1, maxLength: 40 })
const upTo = (most: number) => fc.integer({ min: 1, max: most })

test('an increment that is cut at any places asks for nothing that is gone, and reads all that has changed', async () => {
  const cuts = fc.array(fc.nat(40), { maxLength: 4 })
  await fc.assert(
    fc.asyncProperty(disks, upTo(8), upTo(8), upTo(40), cuts, async (changed, bridge, answer, window, ends) => {
      const disk = new Disk(changed)
      const bridgeBytes = bridge * PIECE
      const gaps = { context: BITMAP, size: disk.size, bridgeBytes, chunkBytes: PIECE }
      await discardUnchanged(disk, disk.bitmap(answer), gaps)
      const read = new Set<number>()
      let durable = 0
      for (const end of [...ends.toSorted((one, other) => one - other), Infinity]) {
        const map = { allocation: disk.allocation, dirty: { client: disk.bitmap(answer), context: BITMAP } }
        const options = { ...map, size: disk.size, fromBytes: durable, windowBytes: window * PIECE, bridgeBytes }
        const discards = new Discards(disk, { unchangedToo: true })
        discards.upTo(durable)
        for await (const { offset, length, kind } of discards.watch(diskExtents(options))) {
          if (offset >= end * PIECE) break
          for (let at = offset; at < offset + length && kind !== 'keep'; at += PIECE) {
            expect(disk.gone[at / PIECE]).toBe(false)
            read.add(at / PIECE)
          }
          durable = offset + length
          discards.upTo(durable)
          await discards.settled()
        }
      }
      expect([...read].toSorted((one, other) => one - other)).toEqual(
        changed.flatMap((is, index) => (is ? [index] : [])),
      )
      // what shows whether the snapshot is whole stays
      expect(disk.gone).toEqual(changed.map((_, index) => index > 0))
    }),
    { numRuns: 300 },
  )
})

test('of a chunk of several pieces that has changed in part all stays', async () => {
  await fc.assert(
    fc.asyncProperty(disks, fc.constantFrom(2, 4, 8), upTo(8), async (changed, pieces, answer) => {
      const disk = new Disk(changed)
      const gaps = { context: BITMAP, size: disk.size, bridgeBytes: PIECE, chunkBytes: pieces * PIECE }
      await discardUnchanged(disk, disk.bitmap(answer), gaps)
      for (let at = 0; at < changed.length; at += pieces)
        if (changed.slice(at, at + pieces).includes(true)) expect(disk.gone.slice(at, at + pieces)).not.toContain(true)
    }),
  )
})

test('only whole pieces go, and never the first', () => {
  fc.assert(
    fc.property(fc.nat(10 * PIECE), fc.nat(10 * PIECE), (from, length) => {
      const pieces = piecesOf({ offset: from, end: from + length })
      if (pieces === null) {
        expect(length).toBeLessThan(2 * PIECE + (from < PIECE ? PIECE : 0))
        return
      }
      expect([pieces.offset % PIECE, pieces.end % PIECE]).toEqual([0, 0])
      expect(pieces.offset).toBeGreaterThanOrEqual(Math.max(from, PIECE))
      expect(pieces.end).toBeLessThanOrEqual(from + length)
    }),
  )
})

test('unchanged gaps stay where they may still be compared, and a beginning with nothing to discard ends nothing', async () => {
  const disk = new Disk([true, true, false, true])
  const discards = new Discards(disk)
  discards.upTo(0)
  const map = { allocation: disk.allocation, dirty: { client: disk.bitmap(9), context: BITMAP }, size: disk.size }
  for await (const { offset, length } of discards.watch(diskExtents(map))) discards.upTo(offset + length)
  await discards.settled()
  expect(disk.gone).toEqual([false, true, false, true])
})

test('a server that refuses is not asked again', async () => {
  let asked = 0
  const discards = new Discards({
    trim: () => {
      asked += 1
      return Promise.reject(new Error('no'))
    },
  })
  const disk = new Disk([true, true, true, true])
  for await (const { offset, length } of discards.watch(
    diskExtents({ allocation: disk.allocation, dirty: null, size: disk.size }),
  )) {
    discards.upTo(offset + length - PIECE)
    await discards.settled()
    discards.upTo(offset + length)
    await discards.settled()
  }
  expect(asked).toBe(1)
})
