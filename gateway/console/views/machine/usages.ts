// What each point of a machine takes, asked for by a person only: the gateway walks all trees of the tenant for it.
import { signal, type ReadonlySignal } from '@preact/signals'
import { asVarveError, type VarveError } from '../../../../protocol/errors.ts'
import type { Link } from '../../net/link.ts'
import { usageOf, type Usage } from '../../stores/points.ts'

type Asked =
  | { readonly kind: 'not asked' }
  | { readonly kind: 'asked' }
  | { readonly kind: 'known'; readonly usage: Usage }
  | { readonly kind: 'failed'; readonly error: VarveError }

export class Usages {
  readonly #link: Link
  readonly #machine: string
  readonly #asked = signal<Asked>({ kind: 'not asked' })

  constructor(link: Link, machine: string) {
    this.#link = link
    this.#machine = machine
  }

  get asked(): ReadonlySignal<Asked> {
    return this.#asked
  }

  get mayAsk(): boolean {
    return this.#link.may('store.usage')
  }

  /** Stored bytes that removing this point alone would free; null where that is not known. */
  freedBy(point: string): number | null {
    const asked = this.#asked.value
    return asked.kind === 'known' ? (asked.usage.get(point)?.storedBytes ?? null) : null
  }

  async ask(): Promise<void> {
    if (this.#asked.value.kind === 'asked') return
    this.#asked.value = { kind: 'asked' }
    try {
      this.#asked.value = { kind: 'known', usage: await usageOf(this.#link, this.#machine) }
    } catch (thrown) {
      this.#asked.value = { kind: 'failed', error: asVarveError(thrown) }
    }
  }
}
