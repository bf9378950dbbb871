// Keeps the packs' copy of each tenant's state up to date: before a change is acknowledged, and soon after a change by a command
// beside the gateway.
import type { Clock } from '../../protocol/peer.ts'
import type { Datastore } from '../datastore/datastore.ts'
import type { TenantStore } from '../datastore/tenant-store.ts'
import type { Log } from '../../protocol/host/log.ts'

/** How often changes are looked for, in milliseconds. */
const INTERVAL_MS = 5000

/**
 * Writes a tenant's changed state to its packs; to be awaited before a hold, a lock or a prune is acknowledged. If that fails, as
 * on a full disk, the change remains in the catalog and the state is written later: a prune must work without space.
 */
export const keepState = async (store: TenantStore, log: Log): Promise<void> => {
  try {
    await store.writeState()
  } catch (error) {
    log.warn({ err: error, tenant: store.tenant.name }, 'the state of a tenant is not in its packs yet')
  }
}

/** Writes changed states at once, every few seconds, and at the end. */
export class StateKeeper implements AsyncDisposable {
  readonly #datastore: Datastore
  readonly #clock: Clock
  readonly #log: Log
  #stopped = false
  #stopTimer: () => void = () => {}
  #underWay: Promise<void>

  constructor(options: { datastore: Datastore; clock: Clock; log: Log }) {
    this.#datastore = options.datastore
    this.#clock = options.clock
    this.#log = options.log
    this.#underWay = this.#round()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    this.#stopTimer()
    await this.#underWay
    await this.#write()
  }

  async #round(): Promise<void> {
    await this.#write()
    if (this.#stopped) return
    this.#stopTimer = this.#clock.after(INTERVAL_MS, () => {
      this.#underWay = this.#round()
    })
  }

  async #write(): Promise<void> {
    const { catalog } = this.#datastore
    try {
      for (const id of await catalog.states.changed()) {
        const tenant = await catalog.tenants.byId({ id })
        if (tenant !== null) await keepState(this.#datastore.tenantStore(tenant), this.#log)
      }
    } catch (error) {
      this.#log.error({ err: error }, 'changed states cannot be looked for')
    }
  }
}
