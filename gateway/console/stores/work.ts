// Work of the gateway that a person asks for: how far it is, what came of it and when, until somebody asks again.
import { signal, type ReadonlySignal } from '@preact/signals'
import { asVarveError, VarveError } from '../../../protocol/errors.ts'
import type { MaintenanceProgress } from '../../../protocol/maintenance.ts'
import type { Asked, MethodName, Result } from '../../../protocol/methods.ts'
import { clock } from '../net/clock.ts'
import type { Link } from '../net/link.ts'

/** Methods that tell how far they are. */
type Working = 'store.collect' | 'store.usage'

export type WorkState<R> =
  | { readonly kind: 'not asked' }
  | { readonly kind: 'running'; readonly progress: MaintenanceProgress | null }
  | { readonly kind: 'done'; readonly result: R; readonly asOfMs: number }
  | { readonly kind: 'failed'; readonly error: VarveError }

export class Work<N extends Working & MethodName> {
  readonly #link: Link
  readonly #name: N
  readonly #params: Asked<N>
  readonly #state = signal<WorkState<Result<N>>>({ kind: 'not asked' })
  #running: AbortController | null = null

  constructor(link: Link, name: N, params: Asked<N>) {
    this.#link = link
    this.#name = name
    this.#params = params
  }

  get state(): ReadonlySignal<WorkState<Result<N>>> {
    return this.#state
  }

  get mayAsk(): boolean {
    return this.#link.may(this.#name)
  }

  async ask(): Promise<void> {
    if (this.#running !== null) return
    const running = new AbortController()
    this.#running = running
    this.#state.value = { kind: 'running', progress: null }
    try {
      const call = this.#link.open(this.#name, this.#params, { signal: running.signal })
      const told = this.#follow(call.messages as AsyncIterable<MaintenanceProgress>)
      const result = await call.result
      await told
      this.#state.value = { kind: 'done', result, asOfMs: clock.now() }
    } catch (thrown) {
      this.#state.value = running.signal.aborted
        ? { kind: 'not asked' }
        : { kind: 'failed', error: asVarveError(thrown) }
    }
    this.#running = null
  }

  cancel(): void {
    this.#running?.abort(new VarveError('CANCELLED', 'the person does not want it any more'))
  }

  async #follow(messages: AsyncIterable<MaintenanceProgress>): Promise<void> {
    try {
      for await (const progress of messages)
        if (this.#state.value.kind === 'running') this.#state.value = { kind: 'running', progress }
    } catch {
      // the call's result says why
    }
  }
}
