// Sets of chunks: what is added is in them, and their ranges are just that.
import { expect, test } from 'vitest'
import { ChunkSet } from '../../../agent/onto/chunk-set.ts'
import { Dice } from '../../support/model-dice.ts'
import { testSeeds } from '../../support/seed.ts'

test('gives what was added as ranges, at the ends and over bytes without any', () => {
  const set = new ChunkSet(1000)
  expect([...set.ranges()]).toEqual([])
  for (const position of [0, 1, 7, 8, 9, 64, 999]) set.add(position)
  expect([...set.ranges()]).toEqual([
    { position: 0, count: 2 },
    { position: 7, count: 3 },
    { position: 64, count: 1 },
    { position: 999, count: 1 },
  ])
  expect([set.has(8), set.has(10)]).toEqual([true, false])
})

test('agrees with a set of numbers', () => {
  for (const seed of testSeeds(20)) {
    const dice = new Dice(seed)
    const chunks = 1 + dice.below(200)
    const set = new ChunkSet(chunks)
    const model = new Set<number>()
    for (let added = dice.below(chunks + 1); added > 0; added--) {
      const position = dice.below(chunks)
      set.add(position)
      model.add(position)
    }
    const all = [...set.ranges()].flatMap(({ position, count }) =>
      Array.from({ length: count }, (_, at) => position + at),
    )
    expect({ seed, all }).toEqual({ seed, all: [...model].sort((a, b) => a - b) })
  }
})
