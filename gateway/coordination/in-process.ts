// The coordination of a datastore with a single writing process: locks guarantee that, so memory suffices.
import type { Coordination, Held, Lease } from './coordination.ts'
import { InProcessReferences } from './references.ts'

export class InProcessCoordination implements Coordination {
  /** One per tenant of the catalog. */
  readonly #references = new Map<string, InProcessReferences>()
  readonly #held = new Map<string, Held>()
  #fence = 0

  references(tenant: string): InProcessReferences {
    const known = this.#references.get(tenant) ?? new InProcessReferences()
    this.#references.set(tenant, known)
    return known
  }

  async take(name: string, what: string, beside?: string): ReturnType<Coordination['take']> {
    const taken = this.#held.get(name)
    if (taken !== undefined) return { held: taken }
    const { promise, resolve } = Promise.withResolvers<void>()
    const held = { what, ended: promise }
    this.#held.set(name, held)
    const lease: Lease = {
      fence: ++this.#fence,
      // nobody else can take it
      lost: new AbortController().signal,
      beside: (beside === undefined ? undefined : this.#held.get(beside)) ?? null,
      [Symbol.asyncDispose]: async () => {
        if (this.#held.get(name) === held) this.#held.delete(name)
        resolve()
      },
    }
    return { lease }
  }
}
