// The plan of a collection: which packs go, which are rewritten, what stays dead.
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { PACK_HEADER_BYTES } from '../../../gateway/packs/format.ts'
import { planCollection, type SurveyedPack } from '../../../gateway/maintenance/collection-plan.ts'

const MIB = 1024 * 1024

/** Of a pack, dead or alive: it is no garbage. */
const HEADER = PACK_HEADER_BYTES

const pack = (id: number, liveMib: number, some: Partial<SurveyedPack> = {}): SurveyedPack => ({
  id,
  uuid: `pack-${id}`,
  kind: 'data',
  bytes: 64 * MIB + HEADER,
  liveBytes: liveMib * MIB,
  rows: liveMib === 0 ? 0 : liveMib * 16,
  open: false,
  damaged: false,
  ...some,
})

const ids = (packs: readonly SurveyedPack[]): number[] => packs.map(({ id }) => id)

test('removes what is dead, rewrites what is below the threshold in its order, keeps the rest', () => {
  const plan = planCollection([pack(4, 50), pack(1, 64), pack(3, 0), pack(2, 20), pack(5, 58)], 90)
  expect([ids(plan.remove), ids(plan.rewrite), ids(plan.keep)]).toEqual([[3], [2, 4], [1, 5]])
  expect(plan.belowThresholdBytes).toBe(6 * MIB)
  expect(plan.inUseBytes).toBe(0)
})

test('a pack that known damage lies in is neither removed nor rewritten', () => {
  const plan = planCollection([pack(1, 0, { damaged: true }), pack(2, 20, { damaged: true }), pack(3, 0)], 90)
  expect([ids(plan.remove), ids(plan.rewrite), ids(plan.keep)]).toEqual([[3], [], [1, 2]])
  expect(plan.damagedBytes).toBe((64 + 44) * MIB)
})

test('a pack at just the threshold stays, one byte less goes', () => {
  const at = { ...pack(1, 0), bytes: 1000 + HEADER, liveBytes: 900, rows: 1 }
  // alone of its kind, so that its size is no reason
  expect(ids(planCollection([at], 90).rewrite)).toEqual([])
  expect(ids(planCollection([{ ...at, liveBytes: 899 }], 90).rewrite)).toEqual([1])
  expect(ids(planCollection([{ ...at, liveBytes: 1 }], 0).rewrite)).toEqual([])
})

test('a pack in which all is live is never copied, however small it is and however much of it is asked for', () => {
  const whole = { ...pack(1, 0), bytes: 354 + HEADER, liveBytes: 354, rows: 1, kind: 'nodes' as const }
  for (const threshold of [0, 90, 100]) expect(ids(planCollection([whole], threshold).rewrite)).toEqual([])
  expect(planCollection([whole], 90).belowThresholdBytes).toBe(0)
  expect(ids(planCollection([{ ...whole, liveBytes: 353 }], 100).rewrite)).toEqual([1])
})

test('packs that writers hold are left alone whatever they hold', () => {
  const plan = planCollection([pack(1, 0, { open: true }), pack(2, 10, { open: true })], 90)
  expect([plan.remove, plan.rewrite, ids(plan.keep)]).toEqual([[], [], [1, 2]])
  expect(plan.inUseBytes).toBe((64 + 54) * MIB)
})

test('small packs are merged once there is something to merge them with, each kind by itself', () => {
  const small = (id: number, kind: 'data' | 'nodes' = 'data'): SurveyedPack =>
    pack(id, 1, { bytes: MIB, liveBytes: MIB, kind })
  expect(ids(planCollection([small(1), small(2, 'nodes'), pack(3, 64)], 90).rewrite)).toEqual([])
  expect(ids(planCollection([small(1), small(2, 'nodes'), small(3)], 90).rewrite)).toEqual([1, 3])
  // one alone goes along with a wasteful pack of its kind
  expect(ids(planCollection([small(1), small(2, 'nodes'), pack(3, 30)], 90).rewrite)).toEqual([1, 3])
  const edge = pack(1, 16, { bytes: 16 * MIB, liveBytes: 16 * MIB })
  expect(ids(planCollection([edge, small(2)], 90).rewrite)).toEqual([])
})

test('every pack is in one list, and what stays is bounded by the threshold', () => {
  const arbitrary = fc.record({
    bytes: fc.integer({ min: HEADER + 100, max: 64 * MIB }),
    share: fc.integer({ min: 0, max: 100 }),
    kind: fc.constantFrom('data' as const, 'nodes' as const),
    open: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(arbitrary, { maxLength: 20 }), fc.integer({ min: 0, max: 100 }), (specs, threshold) => {
      const packs = specs.map(({ bytes, share, kind, open }, id) => {
        const liveBytes = Math.floor(((bytes - HEADER) * share) / 100)
        return pack(id, 0, { bytes, liveBytes, kind, open, rows: liveBytes === 0 ? 0 : 1 })
      })
      const plan = planCollection(packs, threshold)
      const all = [...plan.remove, ...plan.rewrite, ...plan.keep]
      expect(ids(all).sort((a, b) => a - b)).toEqual(ids(packs))
      expect(plan.remove.every(({ rows, open }) => rows === 0 && !open)).toBe(true)
      for (const { bytes, liveBytes, open } of plan.keep)
        if (!open) expect(liveBytes * 100).toBeGreaterThanOrEqual((bytes - HEADER) * threshold)
      // copying is worth it: it frees something, or makes fewer packs
      for (const kind of ['data', 'nodes'] as const) {
        const rewritten = plan.rewrite.filter((one) => one.kind === kind)
        if (rewritten.length === 1) expect(rewritten[0]!.liveBytes).toBeLessThan(rewritten[0]!.bytes - HEADER)
      }
    }),
  )
})
