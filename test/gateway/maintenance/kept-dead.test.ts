// Dead records are kept in their order, or none of them where they are too many.
import { expect, test } from 'vitest'
import { KeptDead } from '../../../gateway/maintenance/kept-dead.ts'

const batch = (first: number, records: number): [Uint8Array, Uint32Array, Uint32Array] => [
  new Uint8Array(records * 32).fill(first),
  new Uint32Array(records).fill(1),
  new Uint32Array(records).fill(100),
]

test('hands over what it kept, once, in order; past its bound it has nothing', async () => {
  const kept = new KeptDead(5)
  kept.add(...batch(1, 2))
  kept.add(...batch(2, 3))
  expect(kept.whole).toBe(true)
  const seen: number[] = []
  const take = async (ids: Uint8Array, packs: Uint32Array): Promise<void> => void seen.push(ids[0]!, packs.length)
  await kept.hand(take)
  expect(seen).toEqual([1, 2, 2, 3])
  await kept.hand(take)
  expect(seen).toHaveLength(4)
  kept.add(...batch(3, 1))
  expect(kept.whole).toBe(false)
  await kept.hand(take)
  expect(seen).toHaveLength(4)
})
