// What a history knows of its machine's disks since the last restore point, and what the next backup must say of each.
import type { Job } from '../../protocol/methods.ts'

export interface Known {
  /** Number of its image in the last restore point, by which its bitmaps are named; null for one that was not in it. */
  readonly index: number | null
  /**
   * The checkpoint of the last restore point: there, gone or damaged with a crash, lost with a clean end or below a snapshot,
   * or any of it where it is not known whether something came before or after the instant or the commit.
   */
  readonly checkpoint: 'kept' | 'crashed' | 'lost' | 'unknown'
  /** It was smaller for a while. */
  readonly cut: boolean
  /** A backup that failed found that its bitmap has missed changes. */
  readonly missed: boolean
  /** Something else lies under it, or what lay there was written again. */
  readonly otherBacking: boolean
}

export const NEW_DISK: Known = { index: null, checkpoint: 'lost', cut: false, missed: false, otherBacking: false }

export class KnownDisks {
  /** Names and sizes of the last restore point's disks; null before the first. */
  #base: readonly { readonly name: string; readonly size: number }[] | null = null
  #disks: Map<string, Known>

  constructor(ids: readonly string[]) {
    this.#disks = new Map(ids.map((id) => [id, NEW_DISK]))
  }

  get(disk: string): Known {
    const known = this.#disks.get(disk)
    if (known === undefined) throw new Error(`nothing is known of disk ${disk}`)
    return known
  }

  set(disk: string, change: Partial<Known>): void {
    this.#disks.set(disk, { ...this.get(disk), ...change })
  }

  /** Gives the disks other names; `from` has none for a disk that is new. */
  rename(names: ReadonlyMap<string, string | null>): void {
    this.#disks = new Map([...names].map(([to, from]) => [to, from === null ? NEW_DISK : this.get(from)]))
  }

  /** QEMU has ended: what is not stored in an image is lost, and with a crash perhaps all. */
  restarted(crash: boolean, disks: readonly { readonly id: string; readonly format: string }[]): void {
    for (const { id, format } of disks) {
      if (format === 'raw') this.set(id, { checkpoint: 'lost' })
      else if (crash && this.get(id).checkpoint !== 'lost') this.set(id, { checkpoint: 'crashed' })
    }
  }

  /** A new restore point; where QEMU ended at about the time of its commit, nobody knows what became of its checkpoint. */
  committed(disks: Job['disks'], checkpoint: 'kept' | 'unknown'): void {
    this.#base = disks.map(({ name, size }) => ({ name, size }))
    for (const [index, { name }] of disks.entries()) this.set(name, { ...NEW_DISK, index, checkpoint })
  }

  /** What a failed backup found is known to the next one; one whose disks are not known may have found something too. */
  failed(disks: Job['disks']): void {
    for (const { name, reason } of disks) if (reason === 'changes-missed') this.set(name, { missed: true })
  }

  /** The disks whose checkpoint is in one of these states, each with its number in the last restore point. */
  withCheckpoint(states: readonly Known['checkpoint'][]): [string, number][] {
    return [...this.#disks].flatMap(([disk, { index, checkpoint }]): [string, number][] =>
      index !== null && states.includes(checkpoint) ? [[disk, index]] : [],
    )
  }

  /** The reasons that an undisturbed backup may give for a disk: one, but where it is not known what became of its checkpoint. */
  reasons(disk: string, size: number, full: boolean): Set<string> {
    if (this.#base === null) return new Set(['first'])
    const { index, checkpoint } = this.get(disk)
    const before = this.#base.find(({ name }) => name === disk)
    const without = full ? 'requested' : before?.size === size ? 'bitmap-missing' : 'size-changed'
    const absent = before === undefined ? 'disk-added' : without
    if (index === null || checkpoint === 'lost') return new Set([absent])
    if (full) return new Set([before === undefined ? 'disk-added' : 'requested'])
    const present = this.#withBitmap(disk, this.#base[index]?.size === size)
    return new Set(checkpoint === 'kept' ? present : [...present, absent])
  }

  /** The same where the disk has its bitmap. */
  #withBitmap(disk: string, sameSize: boolean): string[] {
    const { index, checkpoint, cut, missed, otherBacking } = this.get(disk)
    const copies = [...this.#disks].filter(([other, known]) => other !== disk && known.index === index)
    const mismatch = copies.some(([, known]) => known.checkpoint !== 'lost') ? ['checkpoint-mismatch'] : []
    if (copies.some(([, known]) => known.checkpoint === 'kept')) return mismatch
    if (!sameSize) return [...mismatch, 'size-changed']
    const damaged = checkpoint === 'kept' ? [] : ['bitmap-inconsistent']
    // what was cut off may have been zeroes, or have been written again
    const found = missed ? ['changes-missed'] : cut ? ['changes-missed', 'bitmap'] : ['bitmap']
    const proved = otherBacking ? ['backing-changed'] : found
    return [...mismatch, ...damaged, ...(checkpoint === 'crashed' ? [] : proved)]
  }
}
