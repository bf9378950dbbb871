// One thing done to many machines: a few at once, each with its own outcome, as some may be refused.
import { signal, type ReadonlySignal } from '@preact/signals'
import { asVarveError, type VarveError } from '../../../protocol/errors.ts'

/** Calls at once: the gateway bounds what one session may ask. */
const AT_ONCE = 4

export interface Refused {
  readonly machine: string
  readonly error: VarveError
}

export interface ManyState {
  /** What is done, as its heading says it. */
  readonly title: string
  readonly count: number
  readonly done: number
  readonly refused: readonly Refused[]
  readonly isOver: boolean
}

export class Many {
  readonly #state = signal<ManyState | null>(null)
  /** Goes up with each work, and when it is put away: an earlier one is not shown any more. */
  #works = 0

  /** Of the last work; null before it and after it was put away. */
  get state(): ReadonlySignal<ManyState | null> {
    return this.#state
  }

  /** Resolves when each machine was asked for; what is refused is in the state. One work at a time: the newer one is shown. */
  async run(title: string, machines: readonly string[], work: (machine: string) => Promise<unknown>): Promise<void> {
    const own = (this.#works += 1)
    let state: ManyState = { title, count: machines.length, done: 0, refused: [], isOver: false }
    const change = (next: Partial<ManyState>): void => {
      state = { ...state, ...next }
      if (own === this.#works) this.#state.value = state
    }
    change({})
    const waiting = [...machines]
    const one = async (): Promise<void> => {
      for (let machine = waiting.shift(); machine !== undefined; machine = waiting.shift()) {
        try {
          await work(machine)
          change({ done: state.done + 1 })
        } catch (thrown) {
          const refused = { machine, error: asVarveError(thrown) }
          change({ done: state.done + 1, refused: [...state.refused, refused] })
        }
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, one))
    change({ isOver: true })
  }

  putAway(): void {
    this.#works += 1
    this.#state.value = null
  }
}
