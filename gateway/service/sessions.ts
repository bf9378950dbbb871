// What services see of the sessions that are open.
import type { Claims } from '../../protocol/claims.ts'
import type { VarveError } from '../../protocol/errors.ts'
import type { AgentLinks } from '../jobs/backups.ts'
import type { Said } from '../jobs/handover.ts'
import type { Relayed } from '../../protocol/views.ts'
import type { Actor } from './action.ts'

/** What the connection that serves an agent's machines says of it. */
export interface ServingLink {
  /** Name and version. */
  readonly program: string
  readonly sinceMs: number
  readonly lagMs: number | null
  /** How many machines it announced; null until it did. */
  readonly machines: number | null
  /** QMP commands that it relays; null where it does not say. */
  readonly relay: Relayed | null
}

export interface Sessions extends AgentLinks {
  online(agent: string): boolean
  /** What an agent says of its machines, by name, in place of what it said before on this connection. */
  announce(actor: Actor, announced: ReadonlyMap<string, Said>, relay: Relayed | null): void
  /** The connection on which an agent serves its machines; null where it has none. */
  link(agent: string): ServingLink | null
  /** Whether this actor's connection is the one that serves its machines. */
  serves(actor: Actor): boolean
  /** The actor's session goes on with newer claims. */
  renew(actor: Actor, claims: Claims): void
  /** Ends the sessions whose claims or actor match. */
  endWhere(error: VarveError, which: (claims: Claims, actor: Actor) => boolean): void
}
