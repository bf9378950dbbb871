// What agents are asked of their machines: those who ask the same at the same time get one answer.
import type { Result } from '../../protocol/methods.ts'
import type { Peer } from '../../protocol/peer.ts'
import { answerOf } from '../jobs/agent-error.ts'

/** How long a relayed command or status question may take, in milliseconds. */
export const RELAY_TIMEOUT_MS = 60_000

type Status = Result<'agent.status'>

export class StatusLooks {
  readonly #asked = new WeakMap<Peer, Map<string, Promise<Status>>>()

  /** How a machine is; one question to its agent for all who ask before the answer has come. */
  status(peer: Peer, machine: string): Promise<Status> {
    const asked = this.#asked.get(peer) ?? new Map<string, Promise<Status>>()
    this.#asked.set(peer, asked)
    const same = asked.get(machine)
    if (same !== undefined) return same
    const answer = answerOf(peer, peer.call('agent.status', { machine }, { deadlineMs: RELAY_TIMEOUT_MS }))
    asked.set(machine, answer)
    const forget = (): void => void asked.delete(machine)
    answer.then(forget, forget)
    return answer
  }
}
