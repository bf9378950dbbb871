// The maintenance of the datastore: one long piece of work and one accounting at a time for each tenant, and a few in all.
import type { Tenant } from '../catalog/tenants.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Params, Result } from '../../protocol/methods.ts'
import type { Clock, ServedCall } from '../../protocol/peer.ts'
import type { Datastore } from '../datastore/datastore.ts'
import { Limiter } from '../../protocol/host/limiter.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Rate } from '../../protocol/host/throttle.ts'
import { orAbort } from '../../protocol/host/within.ts'
import { Attributions } from './attribute.ts'
import { checkPacks } from './check.ts'
import { collect } from './collect.ts'
import type { MaintenanceContext } from './context.ts'
import { keepState } from './keep-state.ts'
import { Progress } from './progress.ts'
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

/** The names of the work for people, with its command. */
const WORK_WORDS: Readonly<Record<Work, string>> = {
  'store.collect': 'a collection ("gc")',
  'store.verify': 'a verification ("verify")',
  'store.check': 'a check ("repair --check")',
  'store.usage': 'an accounting ("usage")',
}

/** Pieces of work at once, over all tenants: each takes a thread, a table in memory, and disk bandwidth. */
export const WORK_RUNNING_MAX = 4

/** Pieces of work that wait for that. */
const WORK_WAITING_MAX = 10_000

/** What work needs of the call that asked for it. */
export type WorkCall<N extends Work> = Pick<ServedCall<N>, 'signal' | 'send'>

/** The tenant's slot that work takes: work that any reader may request must not block upkeep. */
type Slot = 'keeping' | 'accounting'

/** The name of the lease on a tenant's slot. */
const slotName = (slot: Slot, { id }: Tenant): string => `${slot} ${id}`

const slotsOf = (name: Work): { readonly own: Slot; readonly other: Slot } =>
  name === 'store.usage' ? { own: 'accounting', other: 'keeping' } : { own: 'keeping', other: 'accounting' }

export class Maintenance implements AsyncDisposable {
  readonly #datastore: Datastore
  readonly #clock: Clock
  readonly #log: Log
  /** Waiting and running work; none of it rejects. */
  readonly #running = new Set<Promise<unknown>>()
  readonly #turns = new Limiter({ weightMax: WORK_RUNNING_MAX, waitingMax: WORK_WAITING_MAX })
  readonly #stop = new AbortController()
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
    const { catalog } = this.#datastore
    for (const id of await catalog.damage.tenants()) {
      const tenant = await catalog.tenants.byId({ id })
      if (tenant !== null) void this.#datastore.tenantStore(tenant).quarantine.attribute()
    }
  }

  /**
   * Runs one piece of work, once it is its turn, to its end or until its caller disconnects. MAINTENANCE_RUNNING while another
   * one of the tenant runs or waits, TOO_MANY_REQUESTS; `store.usage` and the others do not keep each other out. `pace` is a rate
   * that may change meanwhile, in place of that of the parameters; `begins` is called once it is this one's turn.
   */
  async run<N extends Work>(
    name: N,
    tenant: Tenant,
    params: Params<N>,
    call: WorkCall<N>,
    { pace, begins = async () => {} }: { readonly pace?: Rate; readonly begins?: () => Promise<void> } = {},
  ): Promise<Result<N>> {
    const { own, other } = slotsOf(name)
    const taken = await this.#datastore.coordination.take(slotName(own, tenant), name, slotName(other, tenant))
    if ('held' in taken)
      throw new VarveError(
        'MAINTENANCE_RUNNING',
        `${WORK_WORDS[taken.held.what as Work]} of this tenant is running: try again when it has ended`,
      )
    await using lease = taken.lease
    const { beside, lost } = lease
    // an accounting that began before may be about to read what a collection removes
    const first = [name, beside?.what].includes('store.collect') ? beside?.ended : undefined
    const signal = AbortSignal.any([call.signal, this.#stop.signal, lost])
    const work = this.#inTurn(first, signal, async () => {
      await begins()
      return await this.#run(name, tenant, params, { signal, call, pace })
    })
    const ended = Promise.allSettled([work])
    this.#running.add(ended)
    try {
      return await work
    } finally {
      this.#running.delete(ended)
    }
  }

  /** Stops what runs and waits until it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new VarveError('GOING_AWAY', 'the gateway is stopping'))
    await this.#attributions[Symbol.asyncDispose]()
    await Promise.all(this.#running)
  }

  async #inTurn<R>(first: Promise<unknown> | undefined, signal: AbortSignal, work: () => Promise<R>): Promise<R> {
    if (first !== undefined) await orAbort(first, signal)
    return await this.#turns.run(1, work, signal)
  }

  async #run<N extends Work>(
    name: N,
    tenant: Tenant,
    params: Params<N>,
    {
      signal,
      call,
      pace,
    }: { signal: AbortSignal; call: Pick<WorkCall<'store.collect'>, 'send'>; pace: Rate | undefined },
  ): Promise<Result<N>> {
    const startedMs = this.#clock.elapsed()
    const progress = new Progress(this.#clock, (one) => call.send(one))
    this.#log.info({ tenant: tenant.name, work: name }, 'maintenance begins')
    // removed points must not come back with a rebuild once their chunks are gone
    if (name === 'store.collect') await keepState(this.#datastore.tenantStore(tenant), this.#log)
    const result = await WORK[name](
      {
        datastore: this.#datastore,
        tenant,
        clock: this.#clock,
        log: this.#log,
        signal,
        ...(pace === undefined ? {} : { pace }),
        onProgress: (one) => progress.tell(one),
      },
      params,
    )
    if (name === 'store.collect') await this.#datastore.ballast.again()
    this.#log.info(
      { tenant: tenant.name, work: name, ms: Math.round(this.#clock.elapsed() - startedMs) },
      'maintenance ends',
    )
    return result
  }
}
