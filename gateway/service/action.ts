// What an action of a service is: the work behind one method, with its actor and what the door provides.
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

/** The caller: one object for the whole session, which it identifies. */
export interface Actor {
  readonly subject: string
  readonly role: Role
  /** Null for the platform, which belongs to no tenant. */
  readonly tenant: Tenant | null
  /** The agent that the role `agent` is confined to; null for people. */
  readonly agent: string | null
  /** Id of the token that it came with; NO_TOKEN where none was asked for. */
  readonly tokenId: string
  /** The peer's network address; `local` on the local socket. */
  readonly address: string
}

/** What an action's work receives. */
export interface Context<N extends Served> {
  readonly actor: Actor
  /** The actor's tenant; ROLE_FORBIDDEN for an actor without one. */
  readonly tenant: Tenant
  readonly call: ServedCall<N>
  /** The caller's memory budget. */
  readonly account: Account
  /** A machine of the actor's; NOT_FOUND. */
  readonly machine: (name: string) => Promise<MachineRow>
  /** A job of the actor's; NOT_FOUND. */
  readonly job: (id: string) => Promise<ShownJob>
  /** ROLE_FORBIDDEN unless the actor has one of these roles: for parts of a method that only some of its roles may use. */
  readonly only: (roles: readonly Role[], what: string) => void
  /** Runs a catalog query in the session's turn; TOO_MANY_REQUESTS. */
  readonly inTurn: <R>(work: () => Promise<R>) => Promise<R>
  /** To be used at most once: an entry written with a change is the call's only one. */
  readonly change: Change
  /** Writes an entry for this call before its end. */
  readonly begun: () => Promise<void>
}

/** What takes turns: catalog queries, questions to agents, and leases that begin. */
export type Turn = 'listing' | 'relay' | 'lease'

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
