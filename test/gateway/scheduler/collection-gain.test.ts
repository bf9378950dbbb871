// The estimated gain of a collection: arithmetic of its own, and how good it is on a real datastore under three kinds of change.
import { describe, expect, test } from 'vitest'
import {
  collectionGain,
  collectionNote,
  notedCollection,
  type CollectionNote,
} from '../../../gateway/scheduler/collection-gain.ts'
import { randomBytes } from 'node:crypto'
import { Dice } from '../../support/model-dice.ts'
import { Stand } from '../chains/script.ts'
import { CHUNK_BYTES } from '../datastore/fixture.ts'
import { collected, randomDisk } from '../maintenance/stand.ts'

const NOTE: CollectionNote = { packBytes: 1000, keptBytes: 900, removed: 5, share: 0.5 }

describe('a gain', () => {
  test('is what packs grew by more than points did since the last collection, as far as such estimates held', () => {
    const now = { packBytes: 3_000_000, keptBytes: 1_000_900, removed: 6 }
    expect(collectionGain(now, NOTE)).toEqual({ bytes: (3_000_000 - 1000 - 1_000_000) / 2, removed: true })
    expect(collectionGain(now, null)).toEqual({ bytes: 1_999_100, removed: true })
    expect(collectionGain({ packBytes: 1000, keptBytes: 5000, removed: 5 }, NOTE)).toEqual({ bytes: 0, removed: false })
  })

  test('is learnt from what collections found, within bounds, and not from next to nothing', () => {
    const before = { packBytes: 2_001_000, keptBytes: 900, removed: 6 }
    const after = { packBytes: 1_001_000, keptBytes: 900, removed: 6 }
    const report = { dead: { records: 9, bytes: 1_000_000 } }
    expect(notedCollection({ before, after, last: { ...NOTE, share: 1 } }, report)).toEqual({ ...after, share: 0.75 })
    expect(notedCollection({ before, after, last: null }, report).share).toBeCloseTo(0.5, 2)
    const nothing = { dead: { records: 0, bytes: 0 } }
    expect(notedCollection({ before, after: before, last: null }, nothing).share).toBe(0.05)
    const small = { packBytes: 1100, keptBytes: 900, removed: 6 }
    const freed = { dead: { records: 1, bytes: 100 } }
    expect(notedCollection({ before: small, after, last: NOTE }, freed).share).toBe(0.5)
  })

  test('a note that is none is no note', () => {
    expect(collectionNote(undefined)).toBeNull()
    expect(collectionNote('{"packBytes":1}')).toBeNull()
    expect(collectionNote(JSON.stringify(NOTE))).toEqual(NOTE)
  })
})

const CHUNKS = 200
const KEPT = 4

/** Which chunks a day changes, and which of the points goes once there are too many. */
const CASES = [
  {
    name: 'the oldest goes, and days change what they like',
    changes: (dice: Dice) => Array.from({ length: 20 }, () => dice.below(CHUNKS)),
    gone: (points: string[]) => points.shift()!,
  },
  {
    name: 'the oldest goes, and days append',
    changes: (_: Dice, day: number) => Array.from({ length: 6 }, (__, index) => (60 + day * 6 + index) % CHUNKS),
    gone: (points: string[]) => points.shift()!,
  },
  {
    // what is needed on both sides of a point is estimated too high at first
    name: 'points between others go',
    changes: (dice: Dice) => Array.from({ length: 20 }, () => dice.below(CHUNKS)),
    gone: (points: string[]) => points.splice(-2, 1)[0]!,
  },
] as const

const measured = async ({ datastore, tenant }: Stand) => {
  const { tenants } = await datastore.catalog.upkeep.facts()
  return tenants.find((one) => one.tenant === tenant.id)!
}

for (const { name, changes, gone } of CASES)
  test(`against real collections: ${name}`, async () => {
    await using stand = await Stand.open()
    const machine = await stand.machine('db1')
    const dice = new Dice(5)
    const points: string[] = []
    let disk = randomDisk(CHUNKS)
    let last: CollectionNote | null = null
    const rounds: { expected: number; died: number }[] = []
    for (let day = 1; day <= 18; day++) {
      const places = new Set(changes(dice, day))
      disk = disk.map((plain, at) => (places.has(at) ? new Uint8Array(randomBytes(CHUNK_BYTES)) : plain))
      points.push((await stand.point(machine, disk, 100 + day)).id)
      if (points.length > KEPT) {
        const by = { subject: 'test', role: 'owner' }
        const removal = { tenant: stand.tenant.id, points: [gone(points)], named: false, nowMs: 1e12, by }
        expect(await stand.datastore.catalog.points.remove(removal)).toMatchObject({ removed: 1 })
      }
      if (day % 6 !== 0) continue
      const before = await measured(stand)
      const { bytes: expected } = collectionGain(before, last)
      const report = await collected(stand)
      rounds.push({ expected, died: report.dead.bytes })
      last = notedCollection({ before, after: await measured(stand), last }, report)
    }
    for (const { expected, died } of rounds.slice(1)) {
      expect(expected).toBeGreaterThan(died * 0.4)
      expect(expected).toBeLessThan(died * 2)
    }
    expect(rounds[2]!.died).toBeGreaterThan(50_000)
  })
