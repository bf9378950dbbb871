// A simulated month of 200 machines: no slot is run twice, none is lost without its reason, machines are as fresh as they could
// be, and no limit is passed, whoever dies and whatever becomes of the clock. VARVE_SIMULATE=N lives N more months, each with a
// seed of its own.
import { mkdtemp, rm } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { RUNPOINTS } from '../../../gateway/common/runpoint.ts'
import { Dice } from '../../support/model-dice.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { rowsOf, slotFreshness, slotProblems, targetFreshness } from './month-checks.ts'
import { Month } from './month.ts'
import { MonthStates, stateProblems } from './month-states.ts'

const MORE = Number(process.env['VARVE_SIMULATE'] ?? 0)
const SEEDS = [1, ...Array.from({ length: MORE }, (_, index) => (Date.now() + index * 7919) % 1_000_000_007)]

/** A folder in memory where there is one: nothing here is about what outlives a power cut. */
const fastFolder = async (): Promise<TempFolder> => {
  const folder = await mkdtemp('/dev/shm/varve-').catch(() => null)
  if (folder === null) return tempFolder()
  return {
    path: folder,
    join: (...parts) => path.join(folder, ...parts),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
}

describe.each(SEEDS)('a month with seed %i', (seed) => {
  test('is planned once, with reasons, within limits, and as fresh as possible', async () => {
    await using temp = await fastFolder()
    using catalog = openLocal(temp.join('catalog.db'))
    const month = new Month(catalog, new Dice(seed))
    const states = new MonthStates(month)
    await month.live()
    await states.close()
    const problems: string[] = [...month.wrong]
    let [checked, met] = [0, 0]
    for (const machine of month.machines) {
      problems.push(...slotProblems(month, machine, await rowsOf(month, machine)))
      for (const fresh of [targetFreshness(month, machine), slotFreshness(month, machine)]) {
        problems.push(...fresh.problems)
        checked += fresh.checked
        met += fresh.met
      }
    }
    expect(problems).toEqual([])
    const { problems: wrongly, told } = await stateProblems(month, states)
    expect(wrongly).toEqual([])
    // every change of a state was told exactly once, and there were some, also of those whose teller was killed
    expect(told).toBeGreaterThan(200)
    expect(states.kills).toBeGreaterThan(5)
    // it was a month in which things happened, and most bounds were met without any allowance
    expect(month.jobs.length).toBeGreaterThan(4000)
    expect(month.jobs.filter(({ error }) => error !== null).length).toBeGreaterThan(200)
    expect(month.steps.length).toBeGreaterThan(5)
    expect(month.kills.get('power')).toBeGreaterThan(2)
    expect(
      [...month.kills.keys()].filter((how) => (RUNPOINTS as readonly string[]).includes(how)).length,
    ).toBeGreaterThan(1)
    expect(checked).toBeGreaterThan(1500)
    expect(met / checked).toBeGreaterThan(0.8)
  }, 600_000)
})
