// Only what was read and is durable is discarded, in order. Method: a played connection that notes what it is asked.
import { expect, test } from 'vitest'
import { Discards } from '../../../agent/nbd/discards.ts'
import type { DiskExtent } from '../../../agent/nbd/extents.ts'

const MIB = 1024 * 1024

const played = (flags: { readOnly?: boolean; canTrim?: boolean } = {}, fails = false) => {
  const trims: [number, number][] = []
  const client = {
    flags: { readOnly: false, canFlush: true, canFua: true, canTrim: true, canWriteZeroes: true, ...flags },
    trim: async (offset: number, length: number) => {
      trims.push([offset, length])
      if (fails) throw new Error('EIO')
    },
    close: async () => {},
  }
  return { trims, client: client as never }
}

async function* extents(): AsyncGenerator<DiskExtent> {
  yield { offset: 0, length: 4 * MIB, kind: 'data' }
  yield { offset: 4 * MIB, length: MIB, kind: 'keep' }
  yield { offset: 5 * MIB, length: 100 * MIB, kind: 'zero' }
}

const watchAll = async (discards: Discards): Promise<void> => {
  for await (const extent of discards.watch(extents())) expect(extent.length).toBeGreaterThan(0)
}

test('nothing before it is durable, nothing twice, nothing unchanged, and no request is long', async () => {
  const { trims, client } = played()
  {
    await using discards = new Discards(client)
    await watchAll(discards)
    discards.durable(0)
    expect(trims).toEqual([])
    discards.durable(3 * MIB)
    discards.durable(2 * MIB)
    discards.durable(105 * MIB)
  }
  expect(trims.reduce((sum, [, length]) => sum + length, 0)).toBe(104 * MIB)
  expect(
    trims.every(([offset, length]) => length <= 64 * MIB && (offset >= 5 * MIB || offset + length <= 4 * MIB)),
  ).toBe(true)
  for (const [index, [offset]] of trims.slice(1).entries())
    expect(offset).toBeGreaterThanOrEqual(trims[index]![0] + trims[index]![1])
})

test('an export that cannot discard is left alone, and one that fails is asked no more', async () => {
  for (const flags of [{ readOnly: true }, { canTrim: false }]) {
    const { trims, client } = played(flags)
    await using discards = new Discards(client)
    await watchAll(discards)
    discards.durable(105 * MIB)
    expect(trims).toEqual([])
  }
  const { trims, client } = played({}, true)
  {
    await using discards = new Discards(client)
    await watchAll(discards)
    discards.durable(105 * MIB)
  }
  expect(trims).toHaveLength(1)
})
