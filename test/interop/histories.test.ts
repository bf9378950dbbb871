// Random histories keep the promises; VARVE_SOAK=1 runs many more, VARVE_SEED=n the one that failed.
import { randomInt } from 'node:crypto'
import { expect, test, vi } from 'vitest'
import { History } from './history.ts'

/** Histories and steps of each, and what only one that hangs reaches, in milliseconds. */
const PLAIN = { count: 4, steps: 14 }
const SOAK = { count: 40, steps: 25 }
const LIMIT_MS = 3_600_000

vi.setConfig({ maxConcurrency: 2 })

const wanted = process.env['VARVE_SEED']
const soak = process.env['VARVE_SOAK'] === '1'
const { count, steps } = soak ? SOAK : PLAIN
const first = soak ? randomInt(2 ** 30) : 1
const seeds = wanted === undefined ? Array.from({ length: count }, (_, index) => first + index) : [Number(wanted)]

test.concurrent.each(seeds)('seed %i', { timeout: LIMIT_MS }, async (seed) => {
  await using history = await History.start(seed)
  await history.run(steps)
  expect(history.pointCount).toBeGreaterThanOrEqual(2)
})
