// What an ordered restore reports of itself: a few times a second how far it is, and at once what has to be known.
import type { Down } from '../../protocol/methods.ts'
import type { ServedCall } from '../../protocol/peer.ts'

/** Shortest time between two reports of progress of one restore, in milliseconds. */
const PROGRESS_INTERVAL_MS = 200

type Report = Down<'agent.restore'>
type Call = Pick<ServedCall<'agent.restore'>, 'send'>

export class Reports {
  readonly #call: Call
  #toldMs = 0
  #telling = false

  constructor(call: Call) {
    this.#call = call
  }

  /** Sends it, unless another one is on its way or was just sent. */
  often(report: Report): void {
    const nowMs = performance.now()
    if (this.#telling || nowMs - this.#toldMs < PROGRESS_INTERVAL_MS) return
    this.#toldMs = nowMs
    this.#telling = true
    this.#call
      .send(report)
      // its end says why
      .catch(() => {})
      .finally(() => (this.#telling = false))
  }

  async now(report: Report): Promise<void> {
    await this.#call.send(report)
  }
}
