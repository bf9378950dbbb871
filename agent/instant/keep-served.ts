// Has the machines of this host that run from the gateway served as long as the agent runs, whatever became of who served them.
import type { Log } from '../../protocol/host/log.ts'
import { asVarveError } from '../../protocol/errors.ts'
import { findRecord, InstantList, type Places } from './record.ts'
import { isServed, startServer } from './start-server.ts'

/** How often it is looked whether they are served, in milliseconds. */
const LOOK_MS = 5_000

/** How long one that has ended with an error is left before it is tried again, in milliseconds. */
const AGAIN_MS = 60_000

/** How long one start is waited for, in milliseconds: it goes on by itself after that. */
const START_LIMIT_MS = 10_000

export class KeepServed implements AsyncDisposable {
  readonly #list: InstantList
  readonly #log: Log
  readonly #timer: NodeJS.Timeout
  /** Folders that are left alone until then, by the monotonic clock. */
  readonly #notBefore = new Map<string, number>()
  #look: Promise<void> = Promise.resolve()
  #isLooking = false

  constructor(stateFolder: string, log: Log) {
    this.#list = InstantList.in(stateFolder)
    this.#log = log
    this.#timer = setInterval(() => this.#begin(), LOOK_MS)
    this.#timer.unref()
    this.#begin()
  }

  /** What it has started goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#look
  }

  #begin(): void {
    if (this.#isLooking) return
    this.#isLooking = true
    this.#look = this.#all().finally(() => (this.#isLooking = false))
  }

  async #all(): Promise<void> {
    for (const places of await this.#list.all()) {
      if (performance.now() < (this.#notBefore.get(places.folder) ?? 0)) continue
      await this.#one(places).catch((thrown: unknown) => {
        this.#notBefore.set(places.folder, performance.now() + AGAIN_MS)
        const { code, message } = asVarveError(thrown)
        this.#log.error({ folder: places.folder, code, reason: message }, 'disks cannot be served')
      })
    }
  }

  async #one(places: Places): Promise<void> {
    if (await isServed(places)) return
    // one that has just ended as all is done
    if ((await findRecord(places)) === null) return
    this.#log.warn({ folder: places.folder }, 'disks of a machine that runs from the gateway are served again')
    await startServer(places, START_LIMIT_MS)
  }
}
