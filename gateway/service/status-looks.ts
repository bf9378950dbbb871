// Status questions to agents about their machines: concurrent callers with the same question share one answer.
import type { Result } from '../../protocol/methods.ts'
import type { Peer } from '../../protocol/peer.ts'
import { answerOf } from '../jobs/agent-error.ts'

/** How long a relayed command or status question may take, in milliseconds. */
export const RELAY_TIMEOUT_MS = 60_000

type Status = Result<'agent.status'>

export class StatusLooks {
  readonly #asked = new WeakMap<Peer, Map<string, Promise<Status>>>()

  /** A machine's status; one question to its agent for all callers until the answer arrives. */
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
