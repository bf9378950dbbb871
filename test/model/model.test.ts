// Histories of a datastore that is killed, fails and is damaged at every failpoint keep every promise. VARVE_SEED=n repeats one; npm run model runs many more.
import { expect, test } from 'vitest'
import type { HistoryOptions } from './history.ts'
import { runSeeds, runUntried } from './seeds.ts'
import { Tally } from './tally.ts'

/** Histories of this test, and the time that they may take in milliseconds. */
const SEEDS = 200
const LIMIT_MS = 600_000

/** Histories that look for a failpoint at which nothing failed. */
const TRIES = 12

const wanted = process.env['VARVE_SEED']

/** Most are short; every tenth goes on for a while. */
const optionsOf = (seed: number): HistoryOptions => ({
  lives: seed % 10 === 0 ? 3 : 1,
  thorough: seed % 10 === 0,
  at: null,
})

test(
  'whatever fails, dies or is damaged, what was acknowledged is there and right',
  { timeout: LIMIT_MS },
  async () => {
    const tally = new Tally()
    const [from, count] = wanted === undefined ? [1, SEEDS] : [Number(wanted), 1]
    const failures = await runSeeds({ from, count, options: optionsOf }, tally)
    if (wanted === undefined) failures.push(...(await runUntried(TRIES, tally)))
    console.log(tally.toString())
    expect(failures.join('\n\n')).toBe('')
    if (wanted === undefined) expect(tally.untried, 'failpoints at which nothing failed').toEqual([])
  },
)
