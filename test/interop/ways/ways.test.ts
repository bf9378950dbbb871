// Random histories of a machine that is backed up in every way keep the promises; VARVE_SOAK=1 runs many more and ends with
// their figures, VARVE_SEED=n the one that failed.
import { afterAll, expect, test, vi } from 'vitest'
import { testSeeds } from '../../support/seed.ts'
import { WaysHistory } from './history.ts'

/** Histories and steps of each, and what only one that hangs reaches, in milliseconds. */
const PLAIN = { count: 1, steps: 8 }
const SOAK = { count: 200, steps: 5 }
const LIMIT_MS = 3_600_000

vi.setConfig({ maxConcurrency: 2 })

const soak = process.env['VARVE_SOAK'] === '1'
const { count, steps } = soak ? SOAK : PLAIN
const figures = { histories: 0, points: 0, incremental: 0, full: 0 }

test.concurrent.each(testSeeds(count))('seed %i', { timeout: LIMIT_MS }, async (seed) => {
  await using history = await WaysHistory.start(seed)
  await history.run(steps)
  expect(history.pointCount).toBeGreaterThanOrEqual(2)
  figures.histories += 1
  figures.points += history.pointCount
  figures.incremental += history.reads.incremental
  figures.full += history.reads.full
})

afterAll(() => {
  if (soak) console.log(figures)
})
