// A lease that a target holds, or is about to.
import { VarveError } from '../../protocol/errors.ts'
import type { Lease } from '../drivers/driver.ts'

export interface Held {
  readonly id: string
  readonly machine: string
  readonly target: string
  expiresMs: number
  /** Null until it has begun. */
  lease: Lease | null
  stopTimer: () => void
  ending: Promise<void> | null
}

export const newHeld = (known: Pick<Held, 'id' | 'machine' | 'target' | 'expiresMs'>): Held => ({
  ...known,
  lease: null,
  stopTimer: () => {},
  ending: null,
})

export const noLease = (machine: string, lease: string): VarveError => {
  const sentence = `machine ${machine} has no lease ${lease}: it has ended, its time was over, or it was lost`
  return new VarveError('NOT_FOUND', sentence)
}
