// The maintenance of the datastore, one long piece of work for each tenant at a time.
import { VarveError } from '../../protocol/errors.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { Clock, ServedCall } from '../../protocol/peer.ts'
import type { Tenant } from '../datastore/database/tenants.ts'
import type { Datastore } from '../datastore/datastore.ts'
import type { Log } from '../log.ts'
import { Attributions } from './attribute.ts'
import { checkPacks } from './check.ts'
import { collect } from './collect.ts'
import type { MaintenanceContext } from './context.ts'
import { keepState } from './keep-state.ts'
import { usageOf } from './usage.ts'
import { verifyPoints } from './verify.ts'

/** Methods that are long pieces of work. */
type Work = 'store.collect' | 'store.verify' | 'store.check' | 'store.usage'

const WORK: { readonly [N in Work]: (context: MaintenanceContext, params: Params<N>) => Promise<Result<N>> } = {
  'store.collect': collect,
  'store.verify': verifyPoints,
  'store.check': checkPacks,
  'store.usage': usageOf,
}

/** Shortest time between two notices of progress, in milliseconds. */
const NOTICE_INTERVAL_MS = 200

export class Maintenance implements AsyncDisposable {
  readonly #datastore: Datastore
  readonly #clock: Clock
  readonly #log: Log
  /** What runs for each tenant, by its row id. */
  readonly #running = new Map<number, Work>()
  readonly #stop = new AbortController()
  readonly #ended = new Set<Promise<unknown>>()
  readonly #attributions: Attributions

  constructor(options: { datastore: Datastore; clock: Clock; log: Log }) {
    this.#datastore = options.datastore
    this.#clock = options.clock
    this.#log = options.log
    this.#attributions = new Attributions(options, (error, { name }) =>
      this.#log.error({ tenant: name, err: error }, 'damage could not be attributed to restore points'),
    )
    this.#datastore.onDamage = (tenant) => this.#attributions.soon(tenant)
  }

  /** Attributes damage whose attribution an earlier run did not finish. */
  async attributeKnown(): Promise<void> {
    const { database } = this.#datastore
    for (const id of await database.call('damage.tenants', {})) {
      const tenant = await database.call('tenant.byId', { id })
      if (tenant !== null) void this.#datastore.tenantStore(tenant).quarantine.attribute()
    }
  }

  /** Runs one piece of work to its end or until its caller goes; MAINTENANCE_RUNNING while another one of the tenant runs. */
  async run<N extends Work>(name: N, tenant: Tenant, params: Params<N>, call: ServedCall<N>): Promise<Result<N>> {
    const other = this.#running.get(tenant.id)
    if (other !== undefined)
      throw new VarveError('MAINTENANCE_RUNNING', `${other} of this tenant is running; try again when it has ended`)
    this.#running.set(tenant.id, name)
    const work = this.#run(name, tenant, params, call)
    this.#ended.add(work)
    try {
      return await work
    } finally {
      this.#ended.delete(work)
      this.#running.delete(tenant.id)
    }
  }

  /** Stops what runs and waits until it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new VarveError('GOING_AWAY', 'the gateway is stopping'))
    await this.#attributions[Symbol.asyncDispose]()
    await Promise.allSettled(this.#ended)
  }

  async #run<N extends Work>(
    name: N,
    tenant: Tenant,
    params: Params<N>,
    call: Pick<ServedCall<'store.collect'>, 'signal' | 'send'>,
  ): Promise<Result<N>> {
    const startedMs = this.#clock.now()
    let toldMs = Number.NEGATIVE_INFINITY
    this.#log.info({ tenant: tenant.name, work: name }, 'maintenance begins')
    // what was let go of must not come back with a rebuild once its chunks are gone
    if (name === 'store.collect') await keepState(this.#datastore.tenantStore(tenant), this.#log)
    const result = await WORK[name](
      {
        datastore: this.#datastore,
        tenant,
        clock: this.#clock,
        log: this.#log,
        signal: AbortSignal.any([call.signal, this.#stop.signal]),
        onProgress: (progress) => {
          if (this.#clock.now() - toldMs < NOTICE_INTERVAL_MS) return
          toldMs = this.#clock.now()
          // who has gone is noticed by the signal
          call.send(progress).catch(() => {})
        },
      },
      params,
    )
    this.#log.info({ tenant: tenant.name, work: name, ms: this.#clock.now() - startedMs }, 'maintenance ends')
    return result
  }
}
