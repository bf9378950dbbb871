// The part of the disk that uploads leave free, so that what makes room can still write.
import { statfs } from 'node:fs/promises'
import { VarveError } from '../../protocol/errors.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { storeError } from '../common/store-error.ts'

/** The default reserve: so many bytes, or this share of a smaller disk. */
export const RESERVE_BYTES_DEFAULT = 1024 * 1024 * 1024
const RESERVE_SHARE_DEFAULT = 0.05

/** The free space is read again after this time, in milliseconds, or after so many bytes. */
const LOOK_INTERVAL_MS = 1000
const LOOK_BYTES = 64 * 1024 * 1024

/** A file system, in bytes. */
export interface DiskSpace {
  readonly freeBytes: number
  readonly totalBytes: number
}

/** Free and whole size of the file system that a folder lies on; STORE_FAILED. */
export const diskSpace = async (folder: string): Promise<DiskSpace> => {
  try {
    const { bavail, blocks, bsize } = await statfs(folder)
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize }
  } catch (error) {
    throw storeError(error, 'looking at the free space of the disk')
  }
}

/** How much is left free on a disk of so many bytes; `bytes` is the configured reserve, null for the default. */
export const reserveOf = (bytes: number | null, totalBytes: number): number =>
  bytes ?? Math.min(RESERVE_BYTES_DEFAULT, Math.floor(totalBytes * RESERVE_SHARE_DEFAULT))

export class Reserve {
  readonly #look: () => Promise<DiskSpace>
  readonly #nowMs: () => number
  readonly #bytes: number | null
  #looking: Promise<void> | null = null
  #lookedMs = Number.NEGATIVE_INFINITY
  #reserveBytes = 0
  /** What is free once all reserved bytes are written. */
  #freeBytes = 0
  #passedBytes = 0
  #takenBytes = 0

  /**
   * `bytes` to be left free; 0 for none, null for the default. `nowMs` is a clock that never goes back, `look` finds the disk
   * with the least room.
   */
  constructor(options: { bytes: number | null; nowMs: () => number; look: () => Promise<DiskSpace> }) {
    this.#bytes = options.bytes
    this.#nowMs = options.nowMs
    this.#look = options.look
  }

  /** Reserves bytes for one append until it has ended; STORE_FULL when they would use up the reserve, STORE_FAILED. */
  async take(bytes: number): Promise<Disposable> {
    if (this.#bytes === 0) return { [Symbol.dispose]: () => {} }
    const due = this.#nowMs() - this.#lookedMs >= LOOK_INTERVAL_MS || this.#passedBytes + bytes > LOOK_BYTES
    // space freed since the last reading counts too
    if (due || this.#lacks(bytes)) await this.#lookAgain()
    if (this.#lacks(bytes)) throw this.#full()
    this.#freeBytes -= bytes
    this.#passedBytes += bytes
    this.#takenBytes += bytes
    return { [Symbol.dispose]: () => void (this.#takenBytes -= bytes) }
  }

  /** The disk as it is now, and how much of it uploads leave free, in bytes; STORE_FAILED. */
  async room(): Promise<DiskSpace & { readonly reserveBytes: number }> {
    const space = await this.#look()
    return { ...space, reserveBytes: reserveOf(this.#bytes, space.totalBytes) }
  }

  #lacks(bytes: number): boolean {
    return this.#freeBytes - bytes < this.#reserveBytes
  }

  #full(): VarveError {
    const freeBytes = Math.max(0, this.#freeBytes)
    const reserveBytes = this.#reserveBytes
    return new VarveError(
      'STORE_FULL',
      `the gateway's disk has ${sizeText(freeBytes)} free and takes no uploads below its reserve of ${sizeText(reserveBytes)}; ` +
        'its administrator can make room (varve-gateway prune, varve-gateway gc) or give it a larger disk',
      { details: { freeBytes, reserveBytes } },
    )
  }

  async #lookAgain(): Promise<void> {
    this.#looking ??= this.#measure().finally(() => (this.#looking = null))
    await this.#looking
  }

  async #measure(): Promise<void> {
    const { freeBytes, totalBytes } = await this.#look()
    this.#lookedMs = this.#nowMs()
    this.#reserveBytes = reserveOf(this.#bytes, totalBytes)
    // bytes being written may not show yet
    this.#freeBytes = freeBytes - this.#takenBytes
    this.#passedBytes = 0
  }
}
