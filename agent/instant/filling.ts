// The disks of a machine that runs from the gateway while they are brought in: how far each is, and when it needs nothing more.
import { hasBacking, mapImage, syncImage } from './image-map.ts'
import type { InstantDisk } from './record.ts'

/** `off`: no machine is on the disks, or none that can be asked. */
export type MachineState = 'off' | 'running' | 'stopped' | 'io-error'

/** What is known of a disk now. */
export interface Filling {
  readonly alone: boolean
  /** How far the copy is, in bytes of the disk; what the guest has written before counts as it is passed. */
  readonly doneBytes: number
  readonly writtenBytes: number
  /** Why it does not get on; null where it does. */
  readonly stuck: string | null
}

/** Who brings the disks in: over the machine's own monitor, or with libvirt. */
export interface DiskFiller extends Disposable {
  readonly state: MachineState
  /** A guest has run on the disks since this began. */
  readonly hasRun: boolean
  /** From now on as fast as it goes. */
  hurry(): void
  /** Looks at the machine once and does what is due; an error is one of this look. */
  tick(): Promise<void>
}

export class FilledDisk {
  readonly of: InstantDisk
  alone: boolean
  doneBytes: number
  /** Written on QEMUs that this process has seen end, and on the present one up to the last look. */
  #writtenBefore = 0
  writtenNow = 0
  stuck: string | null = null
  /** Nothing is tried before, by the monotonic clock. */
  retryMs = 0

  constructor(of: InstantDisk) {
    this.of = of
    this.alone = of.alone
    this.doneBytes = of.alone ? of.size : 0
  }

  get filling(): Filling {
    const { alone, doneBytes, stuck } = this
    // what was noted may be of the same QEMU: rather too little than too much
    const writtenBytes = Math.max(this.of.writtenBytes, this.#writtenBefore + this.writtenNow)
    return { alone, doneBytes, writtenBytes, stuck }
  }

  /** The QEMU that it was on has ended. */
  left(): void {
    this.#writtenBefore += this.writtenNow
    this.writtenNow = 0
    if (!this.alone) this.doneBytes = 0
  }

  /** Bytes that its image lacks still; it is alone where there are none, and its header names no backing file. */
  async stand(): Promise<number> {
    const { isBacked, missingBytes } = await mapImage(this.of.file)
    if (isBacked || missingBytes > 0) {
      this.stuck = 'its image is not complete'
      return missingBytes
    }
    await syncImage(this.of.file)
    this.alone = true
    this.doneBytes = this.of.size
    this.stuck = null
    return 0
  }

  /** Of a QEMU that has ended, which may have cut it loose before. */
  async lookAtImage(): Promise<void> {
    if (!this.alone && !(await hasBacking(this.of.file))) await this.stand()
  }
}
