// Upkeep of a gateway: its planner and its works, for the scheduler.
import { UpkeepPlanner } from './upkeep-planner.ts'
import { upkeepWorks, type UpkeepParts } from './upkeep-works.ts'
import type { Planner, Work } from './work.ts'

/** What is wished of it. */
export interface UpkeepWishes {
  /** False leaves all of it to people and their cron lines. */
  readonly enabled: boolean
  /** When collections and verifications may begin, such as `20:00-06:00` by the gateway's own clock; null for always. */
  readonly quietHours: string | null
  /** Verification reads at most so much while no backup runs, in bytes per second; null for no limit. */
  readonly verifyBytesPerSecond: number | null
}

export const UPKEEP_DEFAULT: UpkeepWishes = {
  enabled: true,
  quietHours: null,
  verifyBytesPerSecond: 32 * 1024 * 1024,
}

export const upkeepOf = (
  parts: Omit<UpkeepParts, 'verifyBytesPerSecond'>,
  { enabled, quietHours, verifyBytesPerSecond }: UpkeepWishes = UPKEEP_DEFAULT,
): { readonly planners: readonly Planner[]; readonly works: readonly Work[] } => {
  const { datastore, clock } = parts
  const { catalog, space } = datastore
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions()
  return {
    planners: [new UpkeepPlanner({ catalog, space, clock, enabled, quietHours, timeZone })],
    works: upkeepWorks({ ...parts, verifyBytesPerSecond }),
  }
}
