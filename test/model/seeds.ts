// Runs histories by seed, a few beside one another, and collects what broke.
import { History, type HistoryOptions } from './history.ts'
import type { Tally } from './tally.ts'

/** Histories that run at once: as many as there are cores on the machine that the tests are made for. */
const AT_ONCE = 2

export interface SeedsOptions {
  readonly from: number
  readonly count: number
  /** How a history goes, by its seed. */
  readonly options: (seed: number) => HistoryOptions
  readonly onFailure?: (message: string) => void
  /** Whether no further history is to begin, after so many. */
  readonly enough?: (begun: number) => boolean
}

/** Most are short; every tenth goes on for a while. */
export const mostlyShort = (seed: number): HistoryOptions => ({
  lives: seed % 10 === 0 ? 3 : 1,
  thorough: seed % 10 === 0,
  at: null,
})

/** The broken promises, each with its story; none when all were kept. */
export const runSeeds = async (
  { from, count, options, onFailure = () => {}, enough = () => false }: SeedsOptions,
  tally: Tally,
): Promise<string[]> => {
  const failures: string[] = []
  let next = from
  const work = async (): Promise<void> => {
    while (next < from + count && !enough(next - from)) {
      const seed = next++
      await using history = await History.start(seed, options(seed), tally)
      try {
        await history.run()
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error)
        failures.push(message)
        onFailure(message)
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return failures
}

/** More histories for mishaps that have not happened, until they have. */
export const runUnmet = async (tries: number, tally: Tally): Promise<string[]> => {
  const failures: string[] = []
  for (const mishap of tally.unmet)
    for (let tried = 1; tried <= tries && tally.unmet.includes(mishap); tried++)
      failures.push(
        ...(await runSeeds(
          { from: tried, count: 1, options: () => ({ lives: 1, thorough: false, at: null, mishap }) },
          tally,
        )),
      )
  return failures
}

/** More histories for failpoints at which nothing has failed yet, until something has. */
export const runUntried = async (tries: number, tally: Tally): Promise<string[]> => {
  const failures: string[] = []
  for (const at of tally.untried)
    for (let tried = 1; tried <= tries && tally.untried.includes(at); tried++)
      failures.push(
        ...(await runSeeds({ from: tried, count: 1, options: () => ({ lives: 2, thorough: false, at }) }, tally)),
      )
  return failures
}
