// Random histories keep the promises; VARVE_SOAK=1 runs many more, VARVE_SEED=n the one that failed.
import { expect, test, vi } from 'vitest'
import { testSeeds } from '../support/seed.ts'
import { History } from './history.ts'

/** Histories and steps of each, and what only one that hangs reaches, in milliseconds. */
const PLAIN = { count: 4, steps: 12 }
const SOAK = { count: 40, steps: 25 }
const LIMIT_MS = 3_600_000

vi.setConfig({ maxConcurrency: 2 })

const soak = process.env['VARVE_SOAK'] === '1'
const { count, steps } = soak ? SOAK : PLAIN

test.concurrent.each(testSeeds(count))('seed %i', { timeout: LIMIT_MS }, async (seed) => {
  await using history = await History.start(seed)
  await history.run(steps)
  expect(history.pointCount).toBeGreaterThanOrEqual(2)
})
