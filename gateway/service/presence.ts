// Which agents come and go, told as events; a link that is back at once is none.
import type { Catalog } from '../catalog/catalog.ts'
import { asVarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Teller } from '../events/events.ts'
import type { Actor } from './action.ts'

/** How long an agent is away before that is told, in milliseconds: a restart or a broken link is none. */
export const AWAY_TOLD_MS = 30_000

interface Uses {
  readonly events: Teller
  readonly agents: Pick<Catalog['agents'], 'byId'>
  readonly clock: Clock
  readonly log: Log
}

export class Presence implements Disposable {
  readonly #uses: Uses
  /** What stops the time of those that have left a moment ago. */
  readonly #leaving = new Map<string, () => void>()
  #closed = false

  constructor(uses: Uses) {
    this.#uses = uses
  }

  came({ subject, tenant }: Actor): void {
    const stop = this.#leaving.get(subject)
    stop?.()
    if (stop !== undefined) this.#leaving.delete(subject)
    else if (tenant !== null) this.#tell(subject, tenant.id, true)
  }

  left({ subject, tenant }: Actor): void {
    if (this.#closed || tenant === null) return
    this.#leaving.get(subject)?.()
    const stop = this.#uses.clock.after(AWAY_TOLD_MS, () => {
      this.#leaving.delete(subject)
      this.#tell(subject, tenant.id, false)
    })
    this.#leaving.set(subject, stop)
  }

  [Symbol.dispose](): void {
    this.#closed = true
    for (const stop of this.#leaving.values()) stop()
    this.#leaving.clear()
  }

  #tell(agent: string, tenant: string, online: boolean): void {
    const told = async (): Promise<void> => {
      const host = (await this.#uses.agents.byId({ id: agent }))?.host ?? agent
      const text = online ? `the agent of ${host} is connected` : `the agent of ${host} is not connected any more`
      const kind = online ? 'agent.online' : 'agent.offline'
      this.#uses.events.tell({ kind, severity: online ? 'info' : 'warning', tenant, text, data: { agent, host } })
    }
    told().catch((thrown: unknown) =>
      this.#uses.log.warn({ err: asVarveError(thrown), agent }, 'an agent could not be told of'),
    )
  }
}
