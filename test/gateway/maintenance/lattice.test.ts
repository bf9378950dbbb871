// Owners and their join, held against a model of plain sets: the owner of some images is the smallest part that has them all.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Lattice, type OwnedImage, type Owner } from '../../../gateway/maintenance/lattice.ts'

/** Three machines with up to three disks and points each. */
const images = fc
  .uniqueArray(fc.record({ machine: fc.nat({ max: 2 }), disk: fc.nat({ max: 2 }), point: fc.nat({ max: 2 }) }), {
    minLength: 1,
    maxLength: 20,
    selector: ({ machine, disk, point }) => machine * 9 + disk * 3 + point,
  })
  .map((list) =>
    list.map(({ machine, disk, point }): OwnedImage => ({
      machine: `m${machine}`,
      disk: `d${disk}`,
      point: `p${machine}-${point}`,
    })),
  )

const withPicks = images.chain((list) =>
  fc.tuple(fc.constant(list), fc.array(fc.nat({ max: list.length - 1 }), { minLength: 1, maxLength: 12 })),
)

/** Whether an owner has this image, by the meaning of its words alone. */
const covers = (owner: Owner, image: OwnedImage): boolean =>
  (owner.scope === 'tenant' || owner.machine === image.machine) &&
  (!('disk' in owner) || owner.disk === image.disk) &&
  (!('point' in owner) || owner.point === image.point)

/** How many of the images an owner of each scope that has this one may have: a smaller scope first. */
const ORDER: readonly Owner['scope'][] = ['image', 'point', 'disk', 'machine', 'tenant']

/** The smallest owner of all the picked images, found by trying every one. */
const smallest = (picked: readonly OwnedImage[]): Owner => {
  const { machine, disk, point } = picked[0]!
  const candidates: Owner[] = [
    { scope: 'image', machine, disk, point },
    { scope: 'point', machine, point },
    { scope: 'disk', machine, disk },
    { scope: 'machine', machine },
    { scope: 'tenant' },
  ]
  candidates.sort((a, b) => ORDER.indexOf(a.scope) - ORDER.indexOf(b.scope))
  return candidates.find((owner) => picked.every((image) => covers(owner, image)))!
}

describe('owners', () => {
  test('joined in any order and grouping they are the smallest that has all', () => {
    fc.assert(
      fc.property(withPicks, fc.integer(), ([list, picks], seed) => {
        const lattice = new Lattice(list)
        const codes = picks.map((pick) => lattice.image(pick))
        const joined = codes.reduce((a, b) => lattice.join(a, b))
        expect(lattice.owner(joined)).toEqual(smallest(picks.map((pick) => list[pick]!)))
        const shuffled = codes
          .map((code, index) => ({ code, key: Math.sin(seed + index) }))
          .sort((a, b) => a.key - b.key)
        // a tree in place of a chain
        const half = Math.ceil(shuffled.length / 2)
        const sides = [shuffled.slice(0, half), shuffled.slice(half)].filter(({ length }) => length > 0)
        const again = sides
          .map((side) => side.map(({ code }) => code).reduce((a, b) => lattice.join(b, a)))
          .reduce((a, b) => lattice.join(a, b))
        expect(again).toBe(joined)
      }),
      { numRuns: 500 },
    )
  })

  test('every pair of codes joins to one that has both, the same both ways, and itself with itself', () => {
    fc.assert(
      fc.property(images, (list) => {
        const lattice = new Lattice(list)
        const codes = new Set(list.map((_, index) => lattice.image(index)))
        for (const a of codes) for (const b of codes) codes.add(lattice.join(a, b))
        for (const a of codes)
          for (const b of codes) {
            const joined = lattice.join(a, b)
            expect(joined).toBe(lattice.join(b, a))
            expect([lattice.join(joined, a), lattice.join(joined, b)]).toEqual([joined, joined])
            for (const c of codes) expect(lattice.join(joined, c)).toBe(lattice.join(a, lattice.join(b, c)))
          }
        for (const code of codes) expect(lattice.join(code, code)).toBe(code)
      }),
      { numRuns: 60 },
    )
  })

  test('an owner changes at most three times', () => {
    fc.assert(
      fc.property(withPicks, ([list, picks]) => {
        const lattice = new Lattice(list)
        let owner = lattice.image(picks[0]!)
        let changes = 0
        for (const pick of picks) {
          const next = lattice.join(owner, lattice.image(pick))
          if (next !== owner) changes++
          owner = next
        }
        expect(changes).toBeLessThanOrEqual(3)
      }),
    )
  })

  test('the same images give the same codes, and names that look alike are told apart', () => {
    const list = [
      { machine: 'a', disk: 'b","c', point: 'p1' },
      { machine: 'a","b', disk: 'c', point: 'p2' },
      { machine: 'a', disk: 'b', point: 'p3' },
    ]
    const [one, other] = [new Lattice(list), new Lattice(list)]
    expect(list.map((_, index) => one.image(index))).toEqual(list.map((_, index) => other.image(index)))
    expect(one.owner(one.join(one.image(0), one.image(1)))).toEqual({ scope: 'tenant' })
    expect(one.owner(one.join(one.image(0), one.image(2)))).toEqual({ scope: 'machine', machine: 'a' })
    expect(one.owner(123_456)).toEqual({ scope: 'tenant' })
  })
})
