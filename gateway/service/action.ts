// What an action of a service is: the work behind one method, with who asks for it and what the door gives it.
import type { Tenant } from '../catalog/tenants.ts'
import type { MachineRow } from '../catalog/machines.ts'
import type { ShownJob } from '../catalog/jobs.ts'
import type { Role } from '../../protocol/claims.ts'
import type { ErrorDetails } from '../../protocol/errors.ts'
import type { MethodsServedBy, Params, Result } from '../../protocol/methods.ts'
import type { ServedCall } from '../../protocol/peer.ts'
import type { Change } from '../catalog/change.ts'
import type { Account } from '../memory/budget.ts'

/** Methods that the gateway serves. */
export type Served = MethodsServedBy<'gateway'>

/** Who asks: the same object for as long as a session lasts, which is known by it. */
export interface Actor {
  readonly subject: string
  readonly role: Role
  /** Null for who belongs to none: the platform. */
  readonly tenant: Tenant | null
  /** The agent that the role `agent` is confined to; null for people. */
  readonly agent: string | null
  /** The peer's network address; `local` on the local socket. */
  readonly address: string
}

/** What an action's work is given. */
export interface Context<N extends Served> {
  readonly actor: Actor
  /** The actor's tenant; ROLE_FORBIDDEN for who has none. */
  readonly tenant: Tenant
  readonly call: ServedCall<N>
  /** What the caller may make the gateway hold. */
  readonly account: Account
  /** A machine of the actor's; NOT_FOUND. */
  readonly machine: (name: string) => Promise<MachineRow>
  /** A job of the actor's; NOT_FOUND. */
  readonly job: (id: string) => Promise<ShownJob>
  /** ROLE_FORBIDDEN unless the actor has one of these roles: for what only some of those may do who may call the method. */
  readonly only: (roles: readonly Role[], what: string) => void
  /** Runs work in the session's turn among those who look at the catalog; TOO_MANY_REQUESTS. */
  readonly inTurn: <R>(work: () => Promise<R>) => Promise<R>
  /** To be used once at most: an entry that was written with a change is the call's only one. */
  readonly change: Change
  /** Has an entry for this call before its end. */
  readonly begun: () => Promise<void>
}

/** Those who take turns: looks at the catalog, and questions to agents. */
export type Turn = 'listing' | 'relay'

export interface Action<N extends Served> {
  readonly turn?: Turn
  /**
   * What the audit log says of it, chosen field by field: never secrets, and little enough for one entry. `result` is null for a
   * call that failed.
   */
  readonly details?: (params: Params<N>, result: Result<N> | null) => ErrorDetails
  readonly run: (params: Params<N>, context: Context<N>) => Promise<Result<N>>
}

/** The actions of some methods, by name. */
export type ActionsOf<N> = { readonly [M in N & Served]: Action<M> }

export type Actions = ActionsOf<Served>
