// Random histories of a machine that is backed up in every way keep the promises; VARVE_SOAK=1 runs many more, VARVE_SEED=n
// the one that failed.
import { expect, test, vi } from 'vitest'
import { testSeeds } from '../../support/seed.ts'
import { WaysHistory } from './history.ts'

/** Histories and steps of each, and what only one that hangs reaches, in milliseconds. */
const PLAIN = { count: 2, steps: 8 }
const SOAK = { count: 200, steps: 8 }
const LIMIT_MS = 3_600_000

vi.setConfig({ maxConcurrency: 2 })

const { count, steps } = process.env['VARVE_SOAK'] === '1' ? SOAK : PLAIN

test.concurrent.each(testSeeds(count))('seed %i', { timeout: LIMIT_MS }, async (seed) => {
  await using history = await WaysHistory.start(seed)
  await history.run(steps)
  expect(history.pointCount).toBeGreaterThanOrEqual(2)
})
