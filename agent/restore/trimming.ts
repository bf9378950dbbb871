// Zeroes on a block device by discarding, where it promises that what was discarded reads as zeroes: else the kernel refuses.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Shorter ranges are written: to start a program takes as long as that, in bytes. */
const TRIM_BYTES_MIN = 4 * 1024 * 1024

export class Trimming {
  readonly #device: string
  #works = true

  constructor(device: string) {
    this.#device = device
  }

  /** Whether the range reads as zeroes now; false where it has to be written, and is as it was. */
  async zero(offset: number, length: number): Promise<boolean> {
    if (!this.#works || length < TRIM_BYTES_MIN) return false
    try {
      const range = ['--offset', String(offset), '--length', String(length)]
      await run('fallocate', ['--punch-hole', ...range, this.#device])
      return true
    } catch {
      // it cannot, or fallocate is not installed
      this.#works = false
      return false
    }
  }
}
