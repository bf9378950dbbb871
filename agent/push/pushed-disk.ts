// A disk as QEMU writes it: what has come of it, what is whole, and whether it can still become a restore point.
import type { ReadKind } from '../../protocol/backup.ts'
import type { ExtentKind } from '../nbd/extents.ts'
import { SpoolWriter, type SpoolPlace } from './spool.ts'
import { BLOCK, BLOCK_BYTES, Written, type BlockState } from './written.ts'

/** Least of a full disk that is told as whole before its end, in bytes: so that its map is asked for seldom. */
const WHOLE_BYTES_MIN = 1024 * 1024

/** Most extents of one answer. */
const EXTENTS_MAX = 4096

/** Most of a disk in one answer, in bytes: its map must be made in a moment. */
const MAP_BYTES_MAX = 2 ** 36

const KIND: Readonly<Record<BlockState, ExtentKind>> = {
  [BLOCK.unwritten]: 'keep',
  [BLOCK.data]: 'data',
  [BLOCK.zero]: 'zero',
}

/** `size` is bytes. */
export interface PushedDiskOptions extends SpoolPlace {
  readonly size: number
  readonly kind: ReadKind
}

/** A part of a disk's map: kinds and lengths in bytes, one behind the other. */
export type MapRow = readonly [ExtentKind, number]

export class PushedDisk {
  readonly size: number
  readonly #kind: ReadKind
  readonly #written: Written
  readonly #spool: SpoolWriter
  #broken: string | null = null
  #sealed = false
  #keptFrom = 0
  #waiting: (() => void)[] = []

  constructor({ size, kind, folder, index }: PushedDiskOptions) {
    this.size = size
    this.#kind = kind
    this.#written = new Written(size)
    this.#spool = new SpoolWriter({ folder, index })
  }

  /** Why no restore point may be made of it; null while one may. */
  get broken(): string | null {
    return this.#broken
  }

  /** QEMU has written all that it is going to. */
  get sealed(): boolean {
    return this.#sealed
  }

  /** What of it has been written, in bytes of whole blocks. */
  get writtenBytes(): number {
    return this.#written.count * BLOCK_BYTES
  }

  /** Resolves at the next change. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Takes bytes of one write, which may come in pieces that end with a block. Never throws: a guest's write waits for it. */
  write(offset: number, bytes: Buffer): void {
    if (!this.#accepts(offset, bytes.length)) return
    try {
      this.#spool.write(offset, bytes)
    } catch (error) {
      return this.break(`it could not be written to the scratch space: ${(error as Error).message}`)
    }
    this.#mark(offset, bytes.length, BLOCK.data)
  }

  /** The range was written with zeroes. */
  zero(offset: number, length: number): void {
    if (this.#accepts(offset, length)) this.#mark(offset, length, BLOCK.zero)
  }

  /** From now on everything is taken and dropped, so that nobody who writes has to wait or fails. */
  break(why: string): void {
    if (this.#broken !== null) return
    this.#broken = why
    try {
      this.#spool.clear()
    } catch {
      // the folder goes with the lease
    }
    this.#wake()
  }

  /** QEMU has ended its job, and has written at least so many bytes of whole blocks. */
  seal(writtenBytesMin: number): void {
    if (this.#sealed) return
    const bytesMin = this.#kind === 'full' ? this.#written.blocks * BLOCK_BYTES : writtenBytesMin
    if (this.writtenBytes < bytesMin)
      this.break(`QEMU has written ${this.writtenBytes} bytes of it where ${bytesMin} were to be written`)
    this.#sealed = true
    this.#wake()
  }

  /** What lies below is durable elsewhere. Never throws: what cannot be removed costs space until the lease ends. */
  discard(to: number): void {
    this.#keptFrom = Math.max(this.#keptFrom, Math.min(to, this.size))
    try {
      this.#spool.discard(this.#keptFrom)
    } catch {
      // the folder goes with the lease
    }
  }

  /**
   * The map from `from` on as far as it is final; empty where nothing is, yet. What an increment has no bytes of is final only
   * once QEMU has ended: nobody knows before.
   */
  map(from: number): readonly MapRow[] {
    const rows: MapRow[] = []
    if (this.#broken !== null || (this.#kind === 'incremental' && !this.#sealed)) return rows
    const until = Math.min(this.size, from + MAP_BYTES_MAX)
    let at = from
    while (at < until && rows.length < EXTENTS_MAX) {
      const run = this.#written.run(Math.floor(at / BLOCK_BYTES), Math.ceil(until / BLOCK_BYTES))
      if (run.state === BLOCK.unwritten && this.#kind === 'full') break
      const end = Math.min(run.end * BLOCK_BYTES, until)
      rows.push([KIND[run.state], end - at])
      at = end
    }
    return at < until && rows.length < EXTENTS_MAX && at - from < WHOLE_BYTES_MIN ? [] : rows
  }

  #accepts(offset: number, length: number): boolean {
    if (this.#broken !== null) return false
    const end = offset + length
    const whole = offset % BLOCK_BYTES === 0 && (end % BLOCK_BYTES === 0 || end === this.size)
    if (!whole || end > this.size) this.break(`a write of ${length} bytes at ${offset} is not of whole blocks`)
    else if (offset < this.#keptFrom) this.break(`a write at ${offset} came when that was uploaded already`)
    else if (this.#sealed) this.break('it was written to after its job had ended')
    return this.#broken === null
  }

  #mark(offset: number, length: number, state: BlockState): void {
    this.#written.mark(offset / BLOCK_BYTES, Math.ceil((offset + length) / BLOCK_BYTES), state)
    this.#wake()
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }
}
