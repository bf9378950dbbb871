// Turns for calls that must not crowd others out: few at once, the others wait in their order, tenant after tenant and session
// after session.
import { VarveError } from '../../protocol/errors.ts'

export interface TurnLimits {
  /** Pieces of work at once, for everybody, for one tenant and for one session. */
  readonly atOnce: number
  readonly tenantAtOnce: number
  readonly sessionAtOnce: number
  /** Pieces of a tenant's work that wait. */
  readonly tenantWaiting: number
}

/** Listings and other catalog queries. One thread answers them; a second query at once keeps it busy. */
export const LISTING_LIMITS: TurnLimits = { atOnce: 4, tenantAtOnce: 2, sessionAtOnce: 1, tenantWaiting: 1024 }

/** Questions to agents, each of which asks QEMU: a hanging agent must not delay those of others. */
export const RELAY_LIMITS: TurnLimits = { atOnce: 1024, tenantAtOnce: 32, sessionAtOnce: 8, tenantWaiting: 1024 }

/** Leases that begin for other programs: each may take minutes, so no other question waits for them. */
export const LEASE_LIMITS: TurnLimits = { atOnce: 1024, tenantAtOnce: 32, sessionAtOnce: 8, tenantWaiting: 1024 }

/** Whose work it is; a session is identified by this object. */
export interface TurnOf {
  /** Null for callers without a tenant. */
  readonly tenant: string | null
  readonly session: object
  /** Ends the waiting. */
  readonly signal: AbortSignal
}

interface SessionTurns {
  running: number
  readonly waiting: (() => void)[]
}

interface TenantTurns {
  running: number
  waiting: number
  /** In the order in which they are served. */
  readonly sessions: Map<object, SessionTurns>
}

/** Moves an entry behind all others. */
const toEnd = <K, V>(map: Map<K, V>, key: K, value: V): void => {
  map.delete(key)
  map.set(key, value)
}

export class Turns {
  readonly #limits: TurnLimits
  #running = 0
  /** In the order in which they are served; only those that have work. */
  readonly #tenants = new Map<string | null, TenantTurns>()

  constructor(limits: TurnLimits) {
    this.#limits = limits
  }

  /** Tenants that have work under way or waiting. */
  get busy(): number {
    return this.#tenants.size
  }

  /**
   * Runs `work` when it is its turn. TOO_MANY_REQUESTS past `tenantWaiting`; the signal's reason when that comes before the
   * start.
   */
  async run<R>(of: TurnOf, work: () => Promise<R>): Promise<R> {
    of.signal.throwIfAborted()
    await this.#started(of)
    try {
      return await work()
    } finally {
      this.#end(of)
    }
  }

  async #started({ tenant: id, session: key, signal }: TurnOf): Promise<void> {
    const tenant = this.#tenants.get(id) ?? { running: 0, waiting: 0, sessions: new Map<object, SessionTurns>() }
    if (tenant.waiting >= this.#limits.tenantWaiting)
      throw new VarveError('TOO_MANY_REQUESTS', `${tenant.waiting} such calls of this tenant wait already; try again`)
    const session = tenant.sessions.get(key) ?? { running: 0, waiting: [] }
    this.#tenants.set(id, tenant)
    tenant.sessions.set(key, session)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const leave = (): void => {
      const index = session.waiting.indexOf(resolve)
      if (index === -1) return
      session.waiting.splice(index, 1)
      tenant.waiting--
      this.#forgetIdle(id, key)
      reject(signal.reason)
    }
    session.waiting.push(resolve)
    tenant.waiting++
    signal.addEventListener('abort', leave, { once: true })
    this.#next()
    try {
      await promise
    } finally {
      signal.removeEventListener('abort', leave)
    }
  }

  #end({ tenant: id, session: key }: TurnOf): void {
    const tenant = this.#tenants.get(id)!
    this.#running--
    tenant.running--
    tenant.sessions.get(key)!.running--
    this.#forgetIdle(id, key)
    this.#next()
  }

  #forgetIdle(id: string | null, key: object): void {
    const tenant = this.#tenants.get(id)!
    const session = tenant.sessions.get(key)!
    if (session.running === 0 && session.waiting.length === 0) tenant.sessions.delete(key)
    if (tenant.sessions.size === 0) this.#tenants.delete(id)
  }

  #next(): void {
    while (this.#running < this.#limits.atOnce && this.#startOne());
  }

  /** Starts the first piece of work that may begin; false where there is none. */
  #startOne(): boolean {
    const { tenantAtOnce, sessionAtOnce } = this.#limits
    for (const [id, tenant] of this.#tenants) {
      if (tenant.waiting === 0 || tenant.running >= tenantAtOnce) continue
      for (const [key, session] of tenant.sessions) {
        if (session.waiting.length === 0 || session.running >= sessionAtOnce) continue
        toEnd(this.#tenants, id, tenant)
        toEnd(tenant.sessions, key, session)
        this.#running++
        tenant.running++
        tenant.waiting--
        session.running++
        session.waiting.shift()!()
        return true
      }
    }
    return false
  }
}
