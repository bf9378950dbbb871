// Takes what QEMU still writes, for nothing, where the process that did has ended: no guest's write may fail for that.
import { setTimeout as sleep } from 'node:timers/promises'
import type { PushOrder } from './control.ts'
import { joinPushServer, removeSockets } from './server.ts'
import { Writers } from './writers.ts'

/** How long it may take QEMU to try again, in milliseconds: after 1 s, 2 s and so on, at last every 16 s. */
const RETRY_WAIT_MS = 17_000

const LOOK_MS = 50

/** How long QEMU may take, once it is here, to go on with the writes that waited, in milliseconds: seen to take over 1 s. */
const GO_ON_MS = 4_000

/** Those of this process, which are here at once: QEMU tries again ever more seldom. */
export class StandIns {
  /** By the lease's folder of sockets. */
  readonly #writers = new Map<string, Promise<Writers | null>>()

  /**
   * Begins unless the process lives, or this one stands in already. Resolves once QEMU is here for every disk, or has had the
   * time for it (one that has nothing to write does not come): a job that is cancelled while a guest's write waits for it makes
   * that write fail.
   */
  async begin(order: PushOrder): Promise<void> {
    const { socketFolder } = order
    const standing = this.#writers.get(socketFolder) ?? this.#open(order)
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

  async #open(order: PushOrder): Promise<Writers | null> {
    using living = await joinPushServer(order.socketFolder)
    if (living !== null) return null
    await removeSockets(order.socketFolder)
    const writers = await Writers.open({ ...order, broken: 'the process that took it has ended' })
    const deadlineMs = performance.now() + RETRY_WAIT_MS
    while (writers.clients < order.disks.length && performance.now() < deadlineMs) await sleep(LOOK_MS)
    await sleep(GO_ON_MS)
    return writers
  }
}
