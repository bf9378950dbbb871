// Histories of a datastore that is killed, fails and is damaged at every failpoint keep every promise. VARVE_SEED=n repeats
// one; npm run model runs many more.
import { expect, test } from 'vitest'
import { wantedSeed } from '../support/seed.ts'
import { mostlyShort, runSeeds, runUnmet, runUntried } from './seeds.ts'
import { Tally } from './tally.ts'

/** Histories of this test: all of them where the time is enough for them, and on a slow machine no fewer than so many. */
const SEEDS_MAX = 200
const SEEDS_MIN = 40

/** After this time no further history begins, in milliseconds. */
const BUDGET_MS = 60_000

/** What only a history that hangs reaches, in milliseconds. */
const LIMIT_MS = 3_600_000

/** Histories that look for a failpoint at which nothing failed, or for a mishap that did not happen. */
const TRIES = 12

test(
  'whatever fails, dies or is damaged, what was acknowledged is there and right',
  { timeout: LIMIT_MS },
  async () => {
    const tally = new Tally()
    const wanted = wantedSeed()
    const begunMs = performance.now()
    const enough = (begun: number): boolean => begun >= SEEDS_MIN && performance.now() - begunMs > BUDGET_MS
    const [from, count] = wanted === null ? [1, SEEDS_MAX] : [wanted, 1]
    const failures = await runSeeds({ from, count, options: mostlyShort, enough }, tally)
    if (wanted === null) failures.push(...(await runUntried(TRIES, tally)), ...(await runUnmet(TRIES, tally)))
    const seconds = Math.round((performance.now() - begunMs) / 1000)
    console.log(`${tally.toString()}\nseeds from ${from}, at most ${count}, in ${seconds} s`)
    expect(failures.join('\n\n')).toBe('')
    if (wanted !== null) return
    expect(tally.untried, 'failpoints at which nothing failed').toEqual([])
    expect(tally.unmet, 'mishaps that did not happen').toEqual([])
    expect([tally.ahead, tally.behind], 'lives with backups whose clock was ahead, or behind').not.toContain(0)
  },
)
