// How far agents' clocks were off when their last backups began: restore points are dated by them.
import type { Log } from '../../protocol/host/log.ts'

/** Difference between an agent's clock and ours that is logged, in milliseconds. */
export const SKEW_LOGGED_MS = 60_000

export class Skews {
  readonly #log: Pick<Log, 'warn'>
  /** Milliseconds by agent. */
  readonly #skews = new Map<string, number>()

  constructor(log: Pick<Log, 'warn'>) {
    this.#log = log
  }

  /** Takes down how far an agent's clock is ahead of ours, in milliseconds; below 0 where it is behind. */
  note(agent: string, skewMs: number): void {
    this.#skews.set(agent, skewMs)
    if (Math.abs(skewMs) > SKEW_LOGGED_MS)
      this.#log.warn({ agent, skewMs }, "the agent's clock differs from the gateway's")
  }

  /** How far an agent's clock was ahead at its last backup, in milliseconds; null where it began none here. */
  get(agent: string): number | null {
    return this.#skews.get(agent) ?? null
  }

  /** Those of the given agents that began a backup since the gateway started; all others are forgotten. */
  of<A extends { readonly id: string }>(agents: readonly A[]): (A & { readonly skewMs: number })[] {
    const found = agents.flatMap((agent) => {
      const skewMs = this.#skews.get(agent.id)
      return skewMs === undefined ? [] : [{ ...agent, skewMs }]
    })
    const known = new Set(agents.map(({ id }) => id))
    for (const agent of this.#skews.keys()) if (!known.has(agent)) this.#skews.delete(agent)
    return found
  }
}
