// What a mixed history knows of the bitmaps on its machine's disks, and what the next backup must say of each.
import type { Mode } from '../../../agent/drivers/qmp/modes.ts'
import type { Job } from '../../../protocol/methods.ts'
import type { TestDisk } from '../../support/qemu.ts'

/** The driver that read the machine. */
export type Ran = 'qmp' | 'libvirt' | 'offline'

export class Tracks {
  readonly #formats: ReadonlyMap<string, string>
  /** Whose checkpoint the last restore point with one left; null before the first. */
  #by: 'qmp' | 'libvirt' | null = null
  /** The bitmaps are there and record. */
  #whole = false
  /** It is not known what became of them. */
  #doubtful = false
  /** The same of bitmaps that die with QEMU, such as a raw disk's. */
  #transient = false
  /** Bitmaps may lie in the images that QEMU calls inconsistent. */
  #crashed = false
  /** QEMU wrote the last restore point, and so can continue it. */
  #pushed = false
  #incremental = 0
  #full = 0

  constructor(disks: readonly TestDisk[]) {
    this.#formats = new Map(disks.map(({ id, format }) => [id, format]))
  }

  get reads(): { readonly incremental: number; readonly full: number } {
    return { incremental: this.#incremental, full: this.#full }
  }

  ended(crash: boolean): void {
    this.#transient = false
    if (!crash) return
    this.#doubtful = true
    this.#crashed = true
  }

  get crashed(): boolean {
    return this.#crashed
  }

  started(): void {
    this.#transient = false
  }

  /** Without its bitmaps it leaves all of them behind. */
  moved(withBitmaps: boolean): void {
    if (!withBitmaps) this.#doubtful = true
  }

  disturbed(): void {
    this.#doubtful = true
  }

  /** The reasons that an undisturbed backup may give for a disk; null where nothing is certain. */
  reasons(disk: string, ran: Ran, full: boolean | null, mode: Mode): readonly string[] | null {
    const reasons = this.#bitmapReasons(disk, ran, full)
    // a bitmap alone does not do
    if (reasons === null || ran !== 'qmp' || mode === 'pull' || this.#pushed) return reasons
    return reasons.map((reason) => (reason === 'bitmap' ? 'checkpoint-mismatch' : reason))
  }

  /** The same as far as bitmaps go. */
  #bitmapReasons(disk: string, ran: Ran, full: boolean | null): readonly string[] | null {
    if (full === null || this.#doubtful) return null
    if (this.#by === null) return ['first']
    if (full) return ['requested']
    if (this.#formats.get(disk) === 'raw') {
      if (ran !== 'qmp') return ['no-bitmap']
      return this.#transient ? ['bitmap'] : ['bitmap-missing', 'moved']
    }
    // libvirt knows its own checkpoints only
    if (ran === 'libvirt' && this.#by === 'qmp') return ['bitmap-missing']
    return this.#whole ? ['bitmap'] : null
  }

  /** A new restore point; an offline one leaves the checkpoint as it is. */
  committed(disks: Job['disks'], ran: Ran, mode: Mode): void {
    for (const { kind } of disks) {
      if (kind === 'full') this.#full += 1
      else this.#incremental += 1
    }
    if (ran === 'offline') return
    this.#by = ran
    this.#pushed = ran === 'qmp' && mode === 'push'
    this.#whole = true
    this.#doubtful = false
    this.#transient = ran === 'qmp'
    if (ran === 'qmp') this.#crashed = false
  }
}
