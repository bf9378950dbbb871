// Questions to agents about how their machines are: concurrent callers with the same question share one answer.
import type { Asked, Result } from '../../protocol/methods.ts'
import type { Peer } from '../../protocol/peer.ts'
import { answerOf } from '../jobs/agent-error.ts'

/** How long a relayed command or question may take, in milliseconds. */
export const RELAY_TIMEOUT_MS = 60_000

type Question = 'agent.checkpoints' | 'agent.status'

export class StatusLooks {
  readonly #asked = new WeakMap<Peer, Map<string, Promise<unknown>>>()

  /** What an agent says of a machine; one question to it for all callers until the answer arrives. */
  ask<N extends Question>(peer: Peer, question: N, machine: string): Promise<Result<N>> {
    const asked = this.#asked.get(peer) ?? new Map<string, Promise<unknown>>()
    this.#asked.set(peer, asked)
    const key = `${question} ${machine}`
    const same = asked.get(key) as Promise<Result<N>> | undefined
    if (same !== undefined) return same
    const params = { machine } as Asked<N>
    const answer = answerOf(peer, peer.call(question, params, { deadlineMs: RELAY_TIMEOUT_MS }))
    asked.set(key, answer)
    const forget = (): void => void asked.delete(key)
    answer.then(forget, forget)
    return answer
  }
}
