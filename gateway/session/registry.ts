// The sessions that are open on this gateway, and which of them serves which agent's machines.
import type { Claims } from '../../protocol/claims.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { Clock, Peer } from '../../protocol/peer.ts'
import type { Actor } from '../service/action.ts'
import type { DoorSessions } from '../service/door.ts'
import type { ServingLink, Sessions } from '../service/sessions.ts'
import { Paces } from './pace.ts'
import { LEASE_LIMITS, LISTING_LIMITS, RELAY_LIMITS, Turns } from './turns.ts'

/** Sessions open at once; a further one is refused. */
export const SESSIONS_MAX = 20_000

/** When currently valid claims end, by the monotonic clock. */
export const endOf = (claims: Claims, clock: Clock): number => clock.elapsed() + claims.expiresAt * 1000 - clock.now()

/** Who a session's memory counts for: all sessions of one agent, or of one token, count together. */
export const callerKey = ({ role, subject, tokenId }: Claims): string =>
  role === 'agent' ? `agent ${subject}` : `token ${tokenId}`

export interface LiveSession {
  readonly actor: Actor
  /** Renewed claims replace the first ones. */
  claims: Claims
  /** When the claims end, by the monotonic clock: setting the time of day back prolongs no session. */
  endsMs: number
  readonly serving: boolean
  /** What hello called the program, and when it came. */
  readonly program: string
  readonly sinceMs: number
  /** What the agent said last of its machines, by name. */
  announced?: Parameters<Sessions['announce']>[1]
  /** And of the QMP commands that it relays. */
  relay?: Parameters<Sessions['announce']>[2]
  readonly peer: Peer
}

/** Told of agents whose machines are served, and no longer are. */
export interface AgentPresence {
  came(actor: Actor): void
  left(actor: Actor): void
}

export class Registry implements Sessions, DoorSessions {
  readonly #clock: Clock
  readonly #presence: AgentPresence | null
  readonly paces = new Paces()
  /** Turns for queries to the catalog, for questions to agents and for leases that begin. */
  readonly turns = {
    listing: new Turns(LISTING_LIMITS),
    relay: new Turns(RELAY_LIMITS),
    lease: new Turns(LEASE_LIMITS),
  } as const
  readonly #sessions = new Map<Actor, LiveSession>()
  readonly #agents = new Map<string, LiveSession>()

  constructor(clock: Clock, presence: AgentPresence | null = null) {
    this.#clock = clock
    this.#presence = presence
  }

  /** How many are open. */
  get count(): number {
    return this.#sessions.size
  }

  /** Those of all sessions. */
  get claims(): readonly Claims[] {
    return [...this.#sessions.values()].map(({ claims }) => claims)
  }

  /** Adds a session until its connection ends; a second one that serves the same agent replaces the first. */
  add(session: LiveSession): void {
    if (this.#sessions.size >= SESSIONS_MAX) throw new VarveError('GOING_AWAY', 'this gateway has too many sessions')
    this.#sessions.set(session.actor, session)
    if (session.serving) {
      const { subject } = session.actor
      this.#agents.get(subject)?.peer.close(new VarveError('REPLACED', 'another program serves this agent now'))
      this.#agents.set(subject, session)
      this.#presence?.came(session.actor)
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

  announce(...[actor, announced, relay]: Parameters<Sessions['announce']>): void {
    const session = this.#sessions.get(actor)
    if (session === undefined) return
    session.announced = announced
    session.relay = relay
  }

  link(agent: string): ServingLink | null {
    const session = this.#agents.get(agent)
    if (session === undefined) return null
    const { program, sinceMs, peer, announced, relay = null } = session
    return { program, sinceMs, lagMs: peer.lagMs, machines: announced?.size ?? null, relay }
  }

  said(agent: string, machine: string): ReturnType<Sessions['said']> {
    return this.#agents.get(agent)?.announced?.get(machine) ?? null
  }

  serves(actor: Actor): boolean {
    return this.#agents.get(actor.subject)?.actor === actor
  }

  renew(actor: Actor, claims: Claims): void {
    const session = this.#sessions.get(actor)
    if (session === undefined) return
    session.claims = claims
    session.endsMs = endOf(claims, this.#clock)
  }

  online(agent: string): boolean {
    return this.#agents.has(agent)
  }

  endWhere(error: VarveError, which: (claims: Claims, actor: Actor) => boolean = () => true): void {
    for (const { actor, claims, peer } of this.#sessions.values()) if (which(claims, actor)) peer.close(error)
  }

  #remove(session: LiveSession): void {
    this.#sessions.delete(session.actor)
    const { subject } = session.actor
    if (this.#agents.get(subject) !== session) return
    this.#agents.delete(subject)
    this.#presence?.left(session.actor)
  }
}
