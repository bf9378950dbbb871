// The dead records of a survey, kept until their removal is agreed to, so that the index need not be read again unless they are
// too many.

/** Takes ids that nothing refers to, with the handle of each one's pack and what each takes of it, in bytes. */
export type OnDead = (ids: Uint8Array, packs: Uint32Array, bytes: Uint32Array) => Promise<void>

/** Dead records that are kept, in 40 MB; beyond that none are. */
const KEPT_RECORDS_MAX = 1_000_000

export class KeptDead {
  readonly #recordsMax: number
  #batches: Parameters<OnDead>[] = []
  #records = 0

  constructor(recordsMax = KEPT_RECORDS_MAX) {
    this.#recordsMax = recordsMax
  }

  /** False once there were more than can be kept. */
  get whole(): boolean {
    return this.#records <= this.#recordsMax
  }

  add(...batch: Parameters<OnDead>): void {
    this.#records += batch[1].length
    if (this.whole) this.#batches.push(batch)
    else this.#batches = []
  }

  /** Hands over all that was kept, in the order in which it came. */
  async hand(onDead: OnDead): Promise<void> {
    for (const batch of this.#batches.splice(0)) await onDead(...batch)
  }
}
