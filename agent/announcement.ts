// Announces a backup right before its first images, on the connection that they take: none waits for the answer on the way.
import type { Asked } from '../protocol/methods.ts'
import type { Peer } from '../protocol/peer.ts'
import type { Steps } from './steps.ts'

export class Announcement {
  readonly #begun: Asked<'backup.begin'>
  readonly #steps: Pick<Steps, 'time'>
  #done = false
  /** The connection on which it is announced just now, and the answer. */
  #under: { readonly peer: Peer; readonly answer: Promise<unknown> } | null = null

  constructor(begun: Asked<'backup.begin'>, steps: Pick<Steps, 'time'>) {
    this.#begun = begun
    this.#steps = steps
  }

  /**
   * Does work of the backup on a connection, behind the announcement where that is not answered yet. What the announcement fails
   * with ends the work, and is thrown in its place.
   */
  async before<R>(peer: Peer, signal: AbortSignal, work: (signal: AbortSignal) => Promise<R>): Promise<R> {
    if (this.#done) return await work(signal)
    const refused = new AbortController()
    const answer = this.#on(peer, signal)
    answer.catch((thrown: unknown) => refused.abort(thrown))
    const working = work(AbortSignal.any([signal, refused.signal]))
    const [announced] = await Promise.allSettled([answer, working])
    if (announced.status === 'rejected') throw announced.reason
    return await working
  }

  #on(peer: Peer, signal: AbortSignal): Promise<unknown> {
    if (this.#under?.peer !== peer) {
      const announce = async (): Promise<void> => {
        await peer.call('backup.begin', this.#begun, { signal })
        this.#done = true
      }
      const answer = this.#steps.time('announce', announce)
      this.#under = { peer, answer }
    }
    return this.#under.answer
  }
}
