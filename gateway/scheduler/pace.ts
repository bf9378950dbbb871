// The pace of upkeep: it gives way while backups run, and goes on at its own rate when they have ended.
import type { Clock } from '../../protocol/peer.ts'

/** How often it is looked whether backups run, in milliseconds. */
const LOOK_INTERVAL_MS = 2000

/** Upkeep reads at most so much while backups run, in bytes per second: enough to end some day, too little to be felt. */
export const BESIDE_BACKUPS_BYTES_PER_SECOND = 8 * 1024 * 1024

export class Pace implements AsyncDisposable {
  readonly #look: () => Promise<boolean>
  readonly #clock: Clock
  readonly #ownBytesPerSecond: number | null
  #busy = false
  #stopped = false
  #stopTimer: () => void = () => {}
  #underWay: Promise<void> = Promise.resolve()

  private constructor(options: Parameters<typeof Pace.start>[0]) {
    this.#look = options.look
    this.#clock = options.clock
    this.#ownBytesPerSecond = options.bytesPerSecond
  }

  /** `look` tells whether backups run; `bytesPerSecond` is the rate while none does, null for no limit. */
  static async start(options: {
    readonly look: () => Promise<boolean>
    readonly clock: Clock
    readonly bytesPerSecond: number | null
  }): Promise<Pace> {
    const pace = new Pace(options)
    await pace.#round()
    return pace
  }

  /** For a throttle: bytes a second at this moment, null for no limit. */
  readonly rate = (): number | null =>
    this.#busy
      ? Math.min(BESIDE_BACKUPS_BYTES_PER_SECOND, this.#ownBytesPerSecond ?? Number.POSITIVE_INFINITY)
      : this.#ownBytesPerSecond

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    this.#stopTimer()
    await this.#underWay
  }

  async #round(): Promise<void> {
    // what cannot be looked at may be busy
    this.#busy = await this.#look().catch(() => true)
    if (this.#stopped) return
    this.#stopTimer = this.#clock.after(LOOK_INTERVAL_MS, () => {
      this.#underWay = this.#round()
    })
  }
}
