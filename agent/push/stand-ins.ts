// Takes what QEMU still writes, for nothing, where the process that did has ended: no guest's write may fail for that.
import type { PushOrder } from './control.ts'
import { joinPushServer, removeSockets } from './server.ts'
import { Writers } from './writers.ts'

/** Those of this process, which are here at once: QEMU tries again ever more seldom. */
export class StandIns {
  /** By the lease's folder of sockets. */
  readonly #writers = new Map<string, Promise<Writers | null>>()

  /** Begins unless the process lives, or this one stands in already. */
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
    return await Writers.open({ ...order, broken: 'the process that took it has ended' })
  }
}
