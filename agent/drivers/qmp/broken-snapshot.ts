// A snapshot that QEMU gave up, as an old block could not be kept for it: the guest's write went on, and nothing says so but
// that the snapshot cannot be read any more.
import { VarveError } from '../../../protocol/errors.ts'
import { within } from '../../../protocol/host/within.ts'
import { NbdClient } from '../../nbd/client.ts'
import { DISCARD_BYTES } from '../../nbd/discards.ts'
import type { JournalDisk, QmpEntry } from './entry.ts'

/** How long the look at one disk may take, in milliseconds. */
const LOOK_LIMIT_MS = 3_000

/** How QEMU tells that a snapshot cannot be read; an NBD server of its has no better word. */
const UNREADABLE = 'EINVAL'

const isBroken = async (socketPath: string, { exportName, size }: JournalDisk): Promise<boolean> => {
  try {
    await using client = await NbdClient.connect({ socketPath, exportName, contexts: [], timeoutMs: LOOK_LIMIT_MS })
    // this much of a disk is never discarded
    await client.readInto(0, new Uint8Array(Math.min(size, DISCARD_BYTES)))
    return false
  } catch (error) {
    return error instanceof VarveError && error.details['errno'] === UNREADABLE
  }
}

/** Name of the first disk whose snapshot is broken; null where none is, or where that cannot be seen. */
export const findBroken = async ({ socketPath, disks }: QmpEntry): Promise<string | null> => {
  for (const disk of disks) {
    if (disk.access?.breaks !== true) continue
    if ((await within(isBroken(socketPath, disk), LOOK_LIMIT_MS)) === true) return disk.name
  }
  return null
}

/** SCRATCH_LOW: what a full scratch space is to every other backup. */
export const brokenBy = (disk: string, machine: string): VarveError => {
  const sentence = `the snapshot of disk ${disk} broke: an old block could not be kept in the scratch space, which is full or cannot be written; the guest wrote on undisturbed, and the backup was given up`
  return new VarveError('SCRATCH_LOW', sentence, { details: { machine, disk } })
}
