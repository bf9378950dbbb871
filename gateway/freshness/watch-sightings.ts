// Since when agents are connected or away, as far as this gateway has seen it.

/** One of an agent, from one look to the next. */
interface Seen {
  readonly online: boolean
  /** By a clock that nobody sets, in milliseconds. */
  readonly sinceMs: number
}

export class Sightings {
  #seen = new Map<string, Seen>()

  /** Notes which agents are connected now; for how long each has been as it is, in milliseconds, in their order. */
  look<A extends { readonly id: string }>(
    agents: readonly A[],
    { online, elapsedMs }: { readonly online: (agent: string) => boolean; readonly elapsedMs: number },
  ): (A & { readonly online: boolean; readonly forMs: number })[] {
    const next = new Map<string, Seen>()
    const found = agents.map((agent) => {
      const now = online(agent.id)
      const before = this.#seen.get(agent.id)
      const seen = before?.online === now ? before : { online: now, sinceMs: elapsedMs }
      next.set(agent.id, seen)
      return { ...agent, online: now, forMs: elapsedMs - seen.sinceMs }
    })
    // those that are gone are forgotten
    this.#seen = next
    return found
  }
}
