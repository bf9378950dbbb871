// What work under way protects from a collection, in memory: the bound on it.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { InProcessReferences } from '../../../gateway/coordination/references.ts'

const id = (): Uint8Array => new Uint8Array(randomBytes(32))

test('past a bound of ids everything is covered', async () => {
  const references = new InProcessReferences(3)
  await using protection = await references.protect()
  const ids = [id(), id(), id(), id()]
  const free = (): Promise<readonly number[]> => protection.uncovered(ids, async (places) => places)
  await references.touch(ids.slice(0, 2))
  expect(await free()).toEqual([2, 3])
  await references.touch(ids.slice(2, 3))
  expect(await free()).toEqual([])
  await references.touch(ids)
})
