// The leases that others hold and have offered to this agent: one of a machine at a time, each good for one backup.

import { VarveError } from '../../../protocol/errors.ts'
import type { Offer } from './offer.ts'

/** A lease as long as its holder stands by it. */
export class Given {
  readonly offer: Offer
  /** Resolves once the holder does not stand by it any more. */
  readonly ended: Promise<VarveError>
  readonly #ending = Promise.withResolvers<VarveError>()
  #error: VarveError | null = null
  #isTaken = false

  constructor(offer: Offer) {
    this.offer = offer
    this.ended = this.#ending.promise
  }

  /** Why it is over; null while it is good. */
  get error(): VarveError | null {
    return this.#error
  }

  /** False where a backup had it already: its instant is used up. */
  take(): boolean {
    const isFirst = !this.#isTaken && this.#error === null
    this.#isTaken = true
    return isFirst
  }

  end(error: VarveError): void {
    if (this.#error !== null) return
    this.#error = error
    this.#ending.resolve(error)
  }
}

export class Offers {
  readonly #given = new Map<string, Given>()

  /** LEASE_HELD where another lease of the machine is offered already. */
  give(offer: Offer): Given {
    const { machine } = offer
    if (this.#given.has(machine)) {
      const sentence = `machine ${machine} is being backed up under a lease that was given before: try again when that has ended`
      throw new VarveError('LEASE_HELD', sentence, { details: { machine } })
    }
    const given = new Given(offer)
    this.#given.set(machine, given)
    void given.ended.then(() => this.#given.delete(machine))
    return given
  }

  /** The lease of a machine, if one is offered. */
  of(machine: string): Given | null {
    return this.#given.get(machine) ?? null
  }
}
