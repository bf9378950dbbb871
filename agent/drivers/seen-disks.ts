// A machine's disks at one look, with what is below them: what a decision is made on.
import { VarveError } from '../../protocol/errors.ts'
import type { MachineDisk, MachineDisks } from '../qmp/disks.ts'
import { gatherEvidence, refuseShared } from './evidence.ts'

/** A disk with what is below it. */
export interface SeenDisk extends MachineDisk {
  readonly evidence: string
  /** The same with its own file, for checkpoints whose bitmaps are called alike on all disks. */
  readonly ownEvidence: string
  /** False where its format or storage can hold no bitmap: it is read in full each time. */
  readonly holdsBitmaps: boolean
}

/** The machine's disks at one look. */
export interface SeenDisks extends MachineDisks {
  readonly disks: readonly SeenDisk[]
}

/** The disks at the instant are not those that the lease was planned for. */
export class DisksChanged extends VarveError {
  constructor(machine: string) {
    super('LEASE_HELD', `the disks of machine ${machine} changed while the backup began`)
  }
}

/** How often a lease starts over because the machine's disks changed while it began. */
export const BEGIN_ATTEMPTS_MAX = 3

/** LEASE_HELD for a machine whose disks have changed each time. */
export const keepChanging = (machine: string): VarveError => {
  const sentence = `the disks of machine ${machine} keep changing while a backup begins (a snapshot, a resize, a device added or removed): try again when that is done`
  return new VarveError('LEASE_HELD', sentence, { details: { machine } })
}

/** Looks at what is below the disks; DISK_UNSUPPORTED where two disks write one file. */
export const seeDisks = async (
  { disks, leftOut, refused = [] }: MachineDisks,
  holdsBitmaps: (disk: MachineDisk) => boolean = () => true,
): Promise<SeenDisks> => {
  const seen = await Promise.all(disks.map(async (disk) => ({ disk, evidence: await gatherEvidence(disk) })))
  refuseShared(seen)
  return {
    disks: seen.map(({ disk, evidence: { text, ownText } }) => ({
      ...disk,
      evidence: text,
      ownEvidence: ownText,
      holdsBitmaps: holdsBitmaps(disk),
    })),
    leftOut,
    refused,
  }
}
