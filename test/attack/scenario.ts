// What a scenario of the attack script is given and what it gives back.
import type { Tenant } from '../../gateway/catalog/tenants.ts'
import type { Catalog } from '../../gateway/catalog/catalog.ts'
import type { Role } from '../../protocol/claims.ts'
import type { Handlers, Peer } from '../../protocol/peer.ts'

/** An agent of the attacker’s tenant, enrolled like every agent. */
export interface AttackerAgent {
  /** Its id. */
  readonly id: string
  /** Its serving session. */
  readonly peer: Peer
  /** A further session of the same agent; a serving one replaces the first. */
  connect(options?: { readonly serving?: boolean; readonly handlers?: Handlers }): Promise<Peer>
  /** A bearer token for a socket of the scenario's own. */
  assertion(): Promise<string>
}

/**
 * One running gateway, a process of its own, in which the attacker has a tenant. Another tenant's calls go on meanwhile and
 * are timed.
 */
export interface Stage {
  /** `ws://127.0.0.1:PORT`, without a path. */
  readonly url: string
  /** A fresh folder of the scenario's own. */
  readonly folder: string
  /** The attacker's tenant, new for each scenario. */
  readonly tenant: Tenant
  /** The catalog beside the running gateway, as its commands open it: to put in place what would take long over the wire. */
  readonly catalog: Catalog
  /** Enrols an agent of the attacker's tenant, which serves these machines. */
  agent(machines: readonly string[], handlers?: Handlers): Promise<AttackerAgent>
  /** A session of a person of the attacker's tenant; it ends with the scenario. */
  person(role: Exclude<Role, 'agent' | 'platform'>): Promise<Peer>
  /** Tells the person who waits how far it is; not part of the results. */
  say(line: string): void
}

/** Goes on until it is over by itself or the signal aborts; resolves with what the attacker met, in a few words for the table. */
export type Attack = (signal: AbortSignal) => Promise<string>

export interface Scenario {
  /** As on the command line. */
  readonly name: string
  /** A few words for the table. */
  readonly title: string
  /** Longest time of the attack, in milliseconds; then its signal aborts. */
  readonly attackMs: number
  /** Makes what the attack needs; its time and memory are not measured. */
  prepare(stage: Stage): Promise<Attack>
}
