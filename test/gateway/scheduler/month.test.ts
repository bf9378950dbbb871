// A simulated month of 200 machines: no slot is run twice, none is lost without its reason, machines are as fresh as they could
// be, and no limit is passed, whoever dies and whatever becomes of the clock. VARVE_SIMULATE=N lives N more months, each with a
// seed of its own.
import { describe, expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { Dice } from '../../support/model-dice.ts'
import { tempFolder } from '../../support/temp.ts'
import { Month } from './month.ts'

const SEEDS = [
  1,
  ...Array.from(
    { length: Number(process.env['VARVE_SIMULATE'] ?? 0) },
    () => Date.now() + Math.floor(Math.random() * 1e6),
  ),
]

describe.each(SEEDS)('seed %i', (seed) => {
  test('a month', async () => {
    await using temp = await tempFolder()
    using catalog = openLocal(temp.join('catalog.db'))
    const month = new Month(catalog, new Dice(seed))
    const from = performance.now()
    await month.live(Number(process.env['DAYS'] ?? 30))
    console.log(
      (performance.now() - from).toFixed(0),
      month.jobs.length,
      month.kills,
      month.steps.length,
      month.wrong.slice(0, 10),
      month.wrong.length,
    )
    expect(month.wrong).toEqual([])
  }, 600_000)
})
