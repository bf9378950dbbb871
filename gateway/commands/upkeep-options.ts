// The options of serve that are about upkeep: whether it is done, when, and how fast.
import { VarveError } from '../../protocol/errors.ts'
import type { UpkeepWishes } from '../scheduler/upkeep.ts'
import { windowProblem } from '../plans/window.ts'
import { bytesOf } from './options.ts'

export const VERIFY_RATE_DEFAULT = '32M'

/** Slowest rate of verification, in bytes per second. */
const VERIFY_RATE_MIN = 1024 * 1024

const rateOf = (text: string): number => {
  try {
    const bytes = bytesOf(text)
    if (bytes >= VERIFY_RATE_MIN) return bytes
  } catch (error) {
    throw new VarveError('CONFIG_INVALID', `verify-rate: ${(error as Error).message}`, { cause: error })
  }
  throw new VarveError('CONFIG_INVALID', `verify-rate: at least 1M a second is needed, got "${text}"`)
}

/** What is wished of upkeep; CONFIG_INVALID. */
export const upkeepOf = (options: {
  readonly upkeep?: boolean | undefined
  readonly quietHours?: string | undefined
  readonly verifyRate?: string | undefined
}): UpkeepWishes => {
  const { upkeep = true, quietHours = null, verifyRate = VERIFY_RATE_DEFAULT } = options
  const problem = quietHours === null ? null : windowProblem(quietHours)
  if (problem !== null) throw new VarveError('CONFIG_INVALID', `quiet-hours: ${problem}`)
  return { enabled: upkeep, quietHours, verifyBytesPerSecond: rateOf(verifyRate) }
}
