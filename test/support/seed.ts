// The seed of a test's random choices: drawn anew each time, named when the test fails, taken from VARVE_SEED to repeat it.
import { randomInt } from 'node:crypto'
import { onTestFailed } from 'vitest'
import { Dice } from './model-dice.ts'

/** The seed that is asked for. */
export const wantedSeed = (): number | null => {
  const text = process.env['VARVE_SEED']
  return text === undefined ? null : Number(text)
}

/** Dice for the test that runs. */
export const testDice = (): Dice => {
  const seed = wantedSeed() ?? randomInt(2 ** 30)
  onTestFailed(() => console.error(`VARVE_SEED=${seed} repeats the random choices of this test`))
  return new Dice(seed)
}
