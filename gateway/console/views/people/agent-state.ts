// How an agent stands, in one word with its tone; pure.
import type { Tone } from '../../parts/basics.tsx'
import type { Agent } from '../../stores/people.ts'

export const AGENT_STATES = ['away', 'never', 'connected', 'revoked'] as const
export type AgentState = (typeof AGENT_STATES)[number]

export const AGENT_TONES: Readonly<Record<AgentState, Tone>> = {
  away: 'bad',
  never: 'warn',
  connected: 'good',
  revoked: 'quiet',
}

export const agentState = ({
  online,
  revokedMs,
  seenMs,
}: Pick<Agent, 'online' | 'revokedMs' | 'seenMs'>): AgentState => {
  if (revokedMs !== null) return 'revoked'
  if (online) return 'connected'
  return seenMs === null ? 'never' : 'away'
}

const placeOf = (agent: Agent): number => AGENT_STATES.indexOf(agentState(agent))

/** What needs a look first: those that are away, then by host. */
export const inOrder = (agents: readonly Agent[]): Agent[] => {
  return agents.toSorted((one, other) => placeOf(one) - placeOf(other) || one.host.localeCompare(other.host))
}

/** An answer that takes longer than this is worth a mark, in milliseconds. */
export const LAG_SLOW_MS = 1000

/** A clock that is off by more than this is worth a mark, in milliseconds: restore points are dated by it. */
export const SKEW_WRONG_MS = 60_000
