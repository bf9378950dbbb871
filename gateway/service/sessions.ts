// What services see of the sessions that are open.
import type { Claims } from '../../protocol/claims.ts'
import type { VarveError } from '../../protocol/errors.ts'
import type { AgentLinks } from '../jobs/backups.ts'
import type { Said } from '../jobs/handover.ts'
import type { Actor } from './action.ts'

export interface Sessions extends AgentLinks {
  online(agent: string): boolean
  /** What an agent says of its machines, by name, in place of what it said before on this connection. */
  announce(actor: Actor, announced: ReadonlyMap<string, Said>): void
  /** Whether this actor's connection is the one that serves its machines. */
  serves(actor: Actor): boolean
  /** The actor's session goes on with newer claims. */
  renew(actor: Actor, claims: Claims): void
  /** Ends the sessions whose claims or actor match. */
  endWhere(error: VarveError, which: (claims: Claims, actor: Actor) => boolean): void
}
