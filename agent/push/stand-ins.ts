// Takes what QEMU still writes, for nothing, where the process that did has ended: no guest's write may fail for that.
import { setTimeout as sleep } from 'node:timers/promises'
import type { PushOrder } from './control.ts'
import { joinPushServer, removeSockets } from './server.ts'
import { Writers } from './writers.ts'

/**
 * How long it takes QEMU to try again, in milliseconds: where the process has only just ended (after 1 s, then 2 s), and where
 * that may be longer ago (every 16 s).
 */
export const RETRY_WAIT_MS = { soon: 4_000, late: 17_000 } as const

/** Those of this process, which are here at once: QEMU tries again ever more seldom. */
export class StandIns {
  /** By the lease's folder of sockets. */
  readonly #writers = new Map<string, Promise<Writers | null>>()

  /**
   * Begins unless the process lives, or this one stands in already. Resolves once QEMU has had the time to come here: a job that
   * is cancelled while a guest's write waits for it makes that write fail.
   */
  async begin(order: PushOrder, waitMs: number): Promise<void> {
    const { socketFolder } = order
    const standing = this.#writers.get(socketFolder) ?? this.#open(order, waitMs)
    this.#writers.set(socketFolder, standing)
    try {
      if ((await standing) !== null) return
    } catch (error) {
      this.#writers.delete(socketFolder)
      throw error
    }
    this.#writers.delete(socketFolder)
  }

  /** Ends, once nothing in QEMU writes any more. */
  async end(socketFolder: string): Promise<void> {
    const standing = this.#writers.get(socketFolder)
    this.#writers.delete(socketFolder)
    await (await standing)?.[Symbol.asyncDispose]()
  }

  async #open(order: PushOrder, waitMs: number): Promise<Writers | null> {
    using living = await joinPushServer(order.socketFolder)
    if (living !== null) return null
    await removeSockets(order.socketFolder)
    const writers = await Writers.open({ ...order, broken: 'the process that took it has ended' })
    await sleep(waitMs)
    return writers
  }
}
