// Random histories never leave a guest frozen, nor let a guest's write fail; VARVE_SOAK=1 runs many more, VARVE_SEED=n the
// one that failed.
import { test, vi } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { testSeeds } from '../support/seed.ts'
import { FreezeHistory } from './freeze-history.ts'
import { ABSENCES, ScratchHistory, type Absence } from './scratch-history.ts'

/** Histories of each kind, rounds of each, and what only one that hangs reaches, in milliseconds. */
const PLAIN = { freezes: 2, freezeRounds: 2, scratches: 1, scratchRounds: 1 }
const SOAK = { freezes: 20, freezeRounds: 10, scratches: 6, scratchRounds: ABSENCES.length }
const LIMIT_MS = 3_600_000

vi.setConfig({ maxConcurrency: 2 })

const { freezes, freezeRounds, scratches, scratchRounds } = process.env['VARVE_SOAK'] === '1' ? SOAK : PLAIN

/** So many of the absences, in a random order. */
const absencesOf = (seed: number): Absence[] => {
  const dice = new Dice(seed)
  const ranked = ABSENCES.map((absence) => ({ absence, rank: dice.below(2 ** 30) }))
  return ranked
    .toSorted((one, other) => one.rank - other.rank)
    .slice(0, scratchRounds)
    .map(({ absence }) => absence)
}

test.concurrent.each(testSeeds(freezes))('freezes of seed %i', { timeout: LIMIT_MS }, async (seed) => {
  await using history = await FreezeHistory.start(seed)
  await history.run(freezeRounds)
})

test.concurrent.each(testSeeds(scratches))('scratch space of seed %i', { timeout: LIMIT_MS }, async (seed) => {
  await using history = await ScratchHistory.start(seed)
  await history.run(absencesOf(seed))
})
