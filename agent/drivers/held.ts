// Which machines a driver is at work on: one thing at a time on each.

import { VarveError } from '../../protocol/errors.ts'
import type { Machine } from './driver.ts'

/** The machines of one driver with a lease or other work in this process, by address. */
export class HeldMachines {
  readonly #addresses = new Set<string>()

  /** Runs `action` with the machine held; it stays held until `release`, or is freed when the action fails. LEASE_HELD. */
  async holding<T>({ name, address }: Machine, action: (release: () => void) => Promise<T>): Promise<T> {
    if (this.#addresses.has(address)) {
      throw new VarveError(
        'LEASE_HELD',
        `a backup of machine ${name} is under way, or its checkpoints are being removed: try again when it has ended`,
        { details: { machine: name } },
      )
    }
    this.#addresses.add(address)
    const release = (): void => void this.#addresses.delete(address)
    try {
      return await action(release)
    } catch (error) {
      release()
      throw error
    }
  }
}
