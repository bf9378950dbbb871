// The sessions that are open on this gateway, and which of them serves which agent's machines.
import type { Claims } from '../../protocol/claims.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Clock, Peer } from '../../protocol/peer.ts'
import { Paces } from './pace.ts'
import { StatusLooks } from './status-looks.ts'
import { LISTING_LIMITS, RELAY_LIMITS, Turns } from './turns.ts'

/** Sessions open at once; a further one is refused. */
export const SESSIONS_MAX = 20_000

/** Who calls, and from where. */
export interface Caller {
  /** Renewed claims replace the first ones. */
  claims: Claims
  readonly address: string
  /** When the claims end, by the clock that nobody sets: no session lives longer because the time of day was set back. */
  endsMs: number
}

/** When claims that are good now end, by the clock that nobody sets. */
export const endOf = (claims: Claims, clock: Clock): number => clock.elapsed() + claims.expiresAt * 1000 - clock.now()

/** Whose memory a session's is: all sessions of one agent, or of one token, count together. */
export const callerKey = ({ role, subject, tokenId }: Claims): string =>
  role === 'agent' ? `agent ${subject}` : `token ${tokenId}`

export interface LiveSession {
  readonly caller: Caller
  readonly tenantId: string
  readonly serving: boolean
  readonly peer: Peer
}

export class Registry {
  readonly looks = new StatusLooks()
  readonly paces = new Paces()
  /** Turns of what sessions look at, and of what they ask agents. */
  readonly turns = { listing: new Turns(LISTING_LIMITS), relay: new Turns(RELAY_LIMITS) } as const
  readonly #sessions = new Set<LiveSession>()
  readonly #agents = new Map<string, LiveSession>()

  get sessions(): ReadonlySet<LiveSession> {
    return this.#sessions
  }

  /** Adds a session until its connection ends; a second one that serves the same agent replaces the first. */
  add(session: LiveSession): void {
    if (this.#sessions.size >= SESSIONS_MAX) throw new VarveError('GOING_AWAY', 'this gateway has too many sessions')
    this.#sessions.add(session)
    if (session.serving) {
      const { subject } = session.caller.claims
      this.#agents.get(subject)?.peer.close(new VarveError('REPLACED', 'another program serves this agent now'))
      this.#agents.set(subject, session)
    }
    void session.peer.closed.then(() => this.#remove(session))
  }

  /** The connection of an agent; AGENT_OFFLINE. */
  agent(agent: string): Peer {
    const peer = this.find(agent)
    if (peer === null)
      throw new VarveError('AGENT_OFFLINE', 'the agent of this machine is not connected; is "varve-agent run" running?')
    return peer
  }

  /** The connection of an agent, or null. */
  find(agent: string): Peer | null {
    return this.#agents.get(agent)?.peer ?? null
  }

  /** Whether this is the session that serves its agent's machines now. */
  serves(caller: Caller): boolean {
    return this.#agents.get(caller.claims.subject)?.caller === caller
  }

  online(agent: string): boolean {
    return this.#agents.has(agent)
  }

  closeAll(error: VarveError, which: (session: LiveSession) => boolean = () => true): void {
    for (const session of this.#sessions) if (which(session)) session.peer.close(error)
  }

  #remove(session: LiveSession): void {
    this.#sessions.delete(session)
    const { subject } = session.caller.claims
    if (this.#agents.get(subject) === session) this.#agents.delete(subject)
  }
}
