// An external snapshot at a random moment of a backup's beginning, with guest writes around it: what the point may hold.
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Dice } from '../support/model-dice.ts'
import type { ModelMachine, Snapshot } from '../support/model-machine.ts'

/** The snapshot is taken at a random moment of this time after the start of the backup, in milliseconds. */
const WITHIN_MS = 500

/** A state of the disks, and when the write that led to it was answered, in milliseconds since 1970. */
interface State {
  readonly sinceMs: number
  readonly disks: Snapshot
}

export interface Race {
  readonly told: string
  /** When the snapshot came, seen from the instant of the point; `never` where QEMU refused it. */
  came(timeMs: number): 'before' | 'after' | 'unknown' | 'never'
  /** The state of the guest that was restored; fails where it is none, or lacks what was written before the instant. */
  stateIn(restored: Snapshot, timeMs: number): Snapshot
}

const isEqual = (one: Snapshot, other: Snapshot): boolean =>
  [...one].every(([disk, bytes]) => other.get(disk)?.equals(bytes) === true)

export const raceSnapshot = async (
  machine: ModelMachine,
  { disk, dice }: { readonly disk: string; readonly dice: Dice },
): Promise<Race> => {
  const states: State[] = [{ sinceMs: 0, disks: machine.snapshot() }]
  const write = async (count: number): Promise<void> => {
    for (let done = 0; done < count; done++) {
      await machine.touch(dice)
      states.push({ sinceMs: Date.now(), disks: machine.snapshot() })
    }
  }
  const afterMs = dice.below(WITHIN_MS)
  await write(dice.below(3))
  await sleep(afterMs)
  const fromMs = Date.now()
  const refused = await machine.snapshotDisk(disk).then(
    () => null,
    (error: unknown) => String(error),
  )
  const toMs = Date.now()
  await write(1 + dice.below(3))
  return {
    told: `after ${afterMs} ms${refused === null ? '' : ` (refused: ${refused})`}`,
    came: (timeMs) => {
      if (refused !== null) return 'never'
      return toMs < timeMs ? 'before' : fromMs > timeMs ? 'after' : 'unknown'
    },
    stateIn: (restored, timeMs) => {
      const found = states.findLastIndex(({ disks }) => isEqual(disks, restored))
      expect(found, 'the point is a state that the guest was in').toBeGreaterThanOrEqual(0)
      const before = states.findLastIndex(({ sinceMs }) => sinceMs < timeMs)
      expect(found, 'the point holds what was written before its time').toBeGreaterThanOrEqual(before)
      return states[found]!.disks
    },
  }
}
