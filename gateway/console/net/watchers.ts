// Who looks at what is shown: while somebody does it is read at once, and again each time the link opens.
import { effect, untracked } from '@preact/signals'
import type { Link } from './link.ts'

/** The part of a link that a resource or list needs. */
export type Linked = Pick<Link, 'state' | 'openings'>

export class Watchers {
  readonly #link: Linked
  readonly #read: () => void
  readonly #rest: () => void
  #count = 0
  #stop: () => void = () => {}

  /** `read` is called while the link is open; `rest` once nobody looks any more. */
  constructor(link: Linked, read: () => void, rest: () => void) {
    this.#link = link
    this.#read = read
    this.#rest = rest
  }

  get isAny(): boolean {
    return this.#count > 0
  }

  /** Somebody looks, until the returned function is called. */
  watch(): () => void {
    this.#count += 1
    if (this.#count === 1)
      this.#stop = effect(() => {
        void this.#link.openings.value
        if (this.#link.state.value.kind === 'open') untracked(this.#read)
      })
    let isOver = false
    return () => {
      if (isOver) return
      isOver = true
      this.#count -= 1
      if (this.#count > 0) return
      this.#stop()
      this.#rest()
    }
  }
}
