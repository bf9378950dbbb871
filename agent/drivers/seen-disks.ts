// A machine's disks at one look, with what is below them: what a decision is made on.
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

/** Looks at what is below the disks; DISK_UNSUPPORTED where two disks write one file. */
export const seeDisks = async (
  { disks, leftOut }: MachineDisks,
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
  }
}
