// Memory for callers' work: one budget for the process, divided among tenants, and theirs among their callers.
import { VarveError } from '../../protocol/errors.ts'
import {
  CALLER_SESSIONS_MAX,
  CALLER_SHARE,
  CALLS_SHARE,
  MEMORY_BYTES_DEFAULT,
  PASSED_MAX,
  TENANT_BYTES_MIN,
  TENANT_SHARE,
} from './limits.ts'

/** Memory that is held until disposal. */
export interface Hold extends Disposable {
  readonly bytes: number
  /** Takes so many more bytes, if there is room. */
  grow(bytes: number): boolean
  /** Frees so many of them. */
  shrink(bytes: number): void
}

interface Waiter {
  readonly bytes: number
  readonly start: () => void
  /** How many later ones of its tenant were admitted before it, while others of the tenant held what it needs. */
  passed: number
}

/** One caller: an agent, or a token of a person, whatever number of sessions it has. */
interface Caller {
  readonly key: string
  readonly tenant: TenantShare
  readonly waiting: Waiter[]
  used: number
  sessions: number
}

interface TenantShare {
  /** Null for those who belong to no tenant. */
  readonly id: string | null
  readonly callers: Map<string, Caller>
  used: number
  waiting: number
}

/**
 * Holdings may grow while they stay below a share of what is free then, so some is left for the next caller without knowing the
 * number of tenants or callers. Beyond that each tenant has a little reserved. Admitted work continues with what it has: only
 * work that holds nothing waits, so there is no deadlock.
 */
export class MemoryBudget {
  readonly limitBytes: number
  readonly #tenants = new Map<string | null, TenantShare>()
  readonly #tenantBytesMin: number
  /** Memory that waiting or growing work leaves for calls and answers, which are refused where there is no room. */
  readonly #callsBytes: number
  #used = 0
  #waiting = 0

  constructor(limitBytes = MEMORY_BYTES_DEFAULT, tenantBytesMin = TENANT_BYTES_MIN) {
    this.limitBytes = limitBytes
    this.#tenantBytesMin = tenantBytesMin
    this.#callsBytes = tenantBytesMin * CALLS_SHARE
  }

  /** Bytes held in all. */
  get usedBytes(): number {
    return this.#used
  }

  /** The budget of this caller of a tenant; the same for all of its sessions. */
  account(tenantId: string | null, key: string): Account {
    return new Account(this, tenantId, key)
  }

  /** Takes the bytes, if there is room. */
  take(tenantId: string | null, key: string, bytes: number): Hold | null {
    const caller = this.#caller(tenantId, key)
    if (this.#fits(caller, bytes)) return this.#hold(caller, bytes)
    this.#forget(caller)
    return null
  }

  /** Takes the bytes once there is room: tenants in turn, and in turn their callers. Rejects with the signal's reason. */
  async admit(tenantId: string | null, key: string, bytes: number, signal: AbortSignal): Promise<Hold> {
    signal.throwIfAborted()
    const caller = this.#caller(tenantId, key)
    const { promise, resolve, reject } = Promise.withResolvers<Hold>()
    const start = (): void => resolve(this.#hold(caller, bytes))
    const waiter: Waiter = { bytes, start, passed: 0 }
    const leave = (): void => {
      const index = caller.waiting.indexOf(waiter)
      if (index === -1) return
      caller.waiting.splice(index, 1)
      this.#left(caller.tenant)
      this.#forget(caller)
      reject(signal.reason)
      this.#next()
    }
    caller.waiting.push(waiter)
    caller.tenant.waiting++
    this.#waiting++
    signal.addEventListener('abort', leave)
    this.#next()
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', leave)
    }
  }

  /** Whether the caller should free what it can spare: others of its tenant wait, or it has more than it would get now. */
  pressed(tenantId: string | null, key: string): boolean {
    const caller = this.#tenants.get(tenantId)?.callers.get(key)
    return caller !== undefined && (caller.tenant.waiting > 0 || !this.#fits(caller, 0))
  }

  /** Counts a session until it is disposed of; TOO_MANY_REQUESTS. */
  session(tenantId: string | null, key: string): Disposable {
    const caller = this.#caller(tenantId, key)
    if (caller.sessions >= CALLER_SESSIONS_MAX)
      throw new VarveError(
        'TOO_MANY_REQUESTS',
        `there are ${CALLER_SESSIONS_MAX} sessions with this identity already: close some of them`,
      )
    caller.sessions++
    let over = false
    return {
      [Symbol.dispose]: () => {
        if (over) return
        over = true
        caller.sessions--
        this.#forget(caller)
      },
    }
  }

  #caller(tenantId: string | null, key: string): Caller {
    let tenant = this.#tenants.get(tenantId)
    if (tenant === undefined) {
      tenant = { id: tenantId, callers: new Map(), used: 0, waiting: 0 }
      this.#tenants.set(tenantId, tenant)
    }
    let caller = tenant.callers.get(key)
    if (caller === undefined) {
      caller = { key, tenant, waiting: [], used: 0, sessions: 0 }
      tenant.callers.set(key, caller)
    }
    return caller
  }

  #forget(caller: Caller): void {
    const { tenant } = caller
    if (caller.used > 0 || caller.sessions > 0 || caller.waiting.length > 0) return
    // one that was forgotten while still held must not remove its successor
    if (tenant.callers.get(caller.key) === caller) tenant.callers.delete(caller.key)
    if (tenant.callers.size === 0 && this.#tenants.get(tenant.id) === tenant) this.#tenants.delete(tenant.id)
  }

  #left(tenant: TenantShare): void {
    tenant.waiting--
    this.#waiting--
  }

  #fits({ used, tenant }: Caller, bytes: number): boolean {
    if (tenant.used + bytes <= this.#tenantBytesMin) return true
    const free = this.limitBytes - this.#used - bytes
    return used + bytes <= free * CALLER_SHARE && tenant.used + bytes <= free * TENANT_SHARE
  }

  #count(caller: Caller, bytes: number): void {
    caller.used += bytes
    caller.tenant.used += bytes
    this.#used += bytes
  }

  #hold(caller: Caller, bytes: number): Hold {
    let held = bytes
    let over = false
    this.#count(caller, bytes)
    const shrink = (less: number): void => {
      const given = Math.min(less, held)
      held -= given
      this.#count(caller, -given)
      this.#next()
    }
    return {
      get bytes() {
        return held
      },
      grow: (more) => {
        if (over || !this.#fits(caller, more + this.#callsBytes)) return false
        held += more
        this.#count(caller, more)
        return true
      },
      shrink,
      [Symbol.dispose]: () => {
        over = true
        shrink(held)
        this.#forget(caller)
      },
    }
  }

  /** Admits waiting work that fits, tenants in turn, and within each tenant callers in turn. */
  #next(): void {
    for (let started = this.#waiting > 0; started;) {
      started = false
      for (const tenant of Array.from(this.#tenants.values())) {
        if (tenant.waiting === 0 || !this.#startOne(tenant)) continue
        started = true
        if (!this.#tenants.delete(tenant.id)) continue
        this.#tenants.set(tenant.id, tenant)
      }
    }
  }

  #startOne(tenant: TenantShare): boolean {
    const passed: Waiter[] = []
    for (const caller of tenant.callers.values()) {
      const [first] = caller.waiting
      if (first === undefined) continue
      if (!this.#fits(caller, first.bytes + this.#callsBytes)) {
        // it waits for its own work, not for that of others
        if (caller.used + first.bytes > this.#tenantBytesMin) continue
        // large work would wait for ever behind small work
        if (first.passed >= PASSED_MAX) return false
        passed.push(first)
        continue
      }
      for (const waiter of passed) waiter.passed++
      caller.waiting.shift()
      this.#left(tenant)
      tenant.callers.delete(caller.key)
      tenant.callers.set(caller.key, caller)
      first.start()
      return true
    }
    return false
  }
}

/** The budget as one caller has it. */
export class Account {
  readonly #budget: MemoryBudget
  readonly #tenantId: string | null
  readonly #key: string

  constructor(budget: MemoryBudget, tenantId: string | null, key: string) {
    this.#budget = budget
    this.#tenantId = tenantId
    this.#key = key
  }

  /** See MemoryBudget.take. */
  take(bytes: number): Hold | null {
    return this.#budget.take(this.#tenantId, this.#key, bytes)
  }

  /** See MemoryBudget.admit. */
  admit(bytes: number, signal: AbortSignal): Promise<Hold> {
    return this.#budget.admit(this.#tenantId, this.#key, bytes, signal)
  }

  /** See MemoryBudget.session. */
  session(): Disposable {
    return this.#budget.session(this.#tenantId, this.#key)
  }

  /** See MemoryBudget.pressed. */
  get pressed(): boolean {
    return this.#budget.pressed(this.#tenantId, this.#key)
  }
}
