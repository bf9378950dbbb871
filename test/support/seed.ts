// The seed of a test's random choices: drawn anew each time, named when the test fails, taken from VARVE_SEED to repeat it.
import { randomInt } from 'node:crypto'
import { onTestFailed } from 'vitest'
import { Dice } from './model-dice.ts'

/** The seed that is asked for. */
export const wantedSeed = (): number | null => {
  const text = process.env['VARVE_SEED']
  return text === undefined ? null : Number(text)
}

/** Seeds for so many cases of a test, which name theirs; only the one that is asked for, where one is. */
export const testSeeds = (count: number): number[] => {
  const wanted = wantedSeed()
  const first = randomInt(2 ** 30)
  return wanted === null ? Array.from({ length: count }, (_, index) => first + index) : [wanted]
}

/** Dice for the test that runs. */
export const testDice = (): Dice => {
  const [seed] = testSeeds(1) as [number]
  onTestFailed(() => console.error(`VARVE_SEED=${seed} repeats the random choices of this test`))
  return new Dice(seed)
}
