// A lease gives way to a migration: its jobs, exports and nodes would keep QEMU from handing the machine over.

import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../../protocol/errors.ts'
import { pause } from '../../../protocol/host/within.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import type { QmpEntry } from './entry.ts'
import { lookForMove } from './run-state.ts'
import { leaseTarget, tearDown } from './teardown.ts'

/** How often QEMU is asked whether the machine moves, in milliseconds: it tells by itself only where that was switched on. */
export const MOVE_POLL_MS = 500

/** How often what is in the way is tried to be removed, and the pause between two tries, in milliseconds. */
const ATTEMPTS_MAX = 3
const RETRY_MS = 200

export interface MoveWatch {
  readonly connect: () => Promise<QmpCaller>
  readonly signal: AbortSignal
}

/**
 * Waits until the machine moves, or has failed to since the first look; says so as a clause, null when the signal aborts.
 * While QEMU does not answer nothing is known.
 */
export const watchMove = async ({ connect, signal }: MoveWatch): Promise<string | null> => {
  let failedBefore: string | null | undefined
  while (!signal.aborted) {
    try {
      const { move, failure } = await lookForMove(await connect())
      if (signal.aborted) return null
      if (move !== null) return move
      if (failure !== null && failedBefore !== undefined && failure !== failedBefore)
        return 'its migration to another host has failed as the backup was in the way, and can be tried again'
      failedBefore = failure
    } catch {
      // who holds the lease, or will settle it, deals with a QEMU that does not answer
    }
    await pause(MOVE_POLL_MS, signal)
  }
  return null
}

/** The error of a backup that gives way, by a clause that says why. */
export const gaveWay = (machine: string, move: string): VarveError =>
  new VarveError(
    'MACHINE_MOVING',
    `the backup of machine ${machine} gave way: ${move}; back it up again when it has arrived, on the host where it runs`,
    { details: { machine } },
  )

/** Removes all of a lease that keeps its machine from moving. Bitmaps do not; whose they are the outcome says. */
export const clearTheWay = async (connect: () => Promise<QmpCaller>, entry: QmpEntry): Promise<void> => {
  const target = { ...leaseTarget(entry, 'failed', new Set()), bitmaps: () => [] }
  for (let attempt = 1; ; attempt += 1) {
    try {
      await tearDown(await connect(), target)
      return
    } catch (error) {
      if (attempt >= ATTEMPTS_MAX) throw error
      await sleep(RETRY_MS)
    }
  }
}
