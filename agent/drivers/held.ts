// Which machines a driver is at work on: one thing at a time on each.

import { VarveError } from '../../protocol/errors.ts'
import type { Machine } from './driver.ts'

/** The machines of one driver with a lease or other work in this process, by address. */
export class HeldMachines {
  readonly #addresses = new Set<string>()
  /** What runs briefly and is waited for, by address. */
  readonly #brief = new Map<string, Promise<unknown>>()

  /** Runs `action` with the machine held; it stays held until `release`, or is freed when the action fails. LEASE_HELD. */
  async holding<T>({ name, address }: Machine, action: (release: () => void) => Promise<T>): Promise<T> {
    // nothing is awaited between the last look and what follows
    for (let running = this.#brief.get(address); running !== undefined; running = this.#brief.get(address))
      await running.catch(() => undefined)
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

  /** Runs a short `action`, for whose end others wait, on a machine that is free; null for one that is held. */
  async briefly<T>({ address }: Machine, action: () => Promise<T>): Promise<T | null> {
    // nothing is awaited between the last look and what follows
    for (let running = this.#brief.get(address); running !== undefined; running = this.#brief.get(address))
      await running.catch(() => undefined)
    if (this.#addresses.has(address)) return null
    const running = action().finally(() => this.#brief.delete(address))
    this.#brief.set(address, running)
    return await running
  }
}
