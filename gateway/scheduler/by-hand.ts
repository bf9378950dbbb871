// Upkeep that a person starts is a run as well: begun at once, its lease prolonged while it lasts, ended with what it did.
import { randomUUID } from 'node:crypto'
import { asVarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { RunKind } from '../../protocol/runs.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { RunEnd } from '../catalog/runs.ts'
import type { ConditionBook } from '../events/events.ts'
import { LEASE_MS } from './limits.ts'

/** The lease is prolonged so often, in milliseconds. */
const RENEW_MS = LEASE_MS / 3

/** Whose work it is. */
export interface HandWork {
  readonly kind: RunKind
  /** Uuid. */
  readonly tenant: string
  readonly subject: string
}

const worksAgain = ({ kind, tenant }: HandWork) =>
  ({
    tenant,
    kind: 'upkeep.failing',
    key: `upkeep.failing ${kind}`,
    text: `upkeep (${kind}) works again: a person did it`,
    data: { kind },
  }) as const

export class ByHand {
  readonly #catalog: Pick<Catalog, 'runs'>
  readonly #conditions: Pick<ConditionBook, 'clear'>
  readonly #clock: Clock
  readonly #log: Log
  readonly #owner = randomUUID()

  constructor(options: {
    readonly catalog: Pick<Catalog, 'runs'>
    readonly conditions: Pick<ConditionBook, 'clear'>
    readonly clock: Clock
    readonly log: Log
  }) {
    this.#catalog = options.catalog
    this.#conditions = options.conditions
    this.#clock = options.clock
    this.#log = options.log
  }

  /**
   * Does the work, which is a run from the moment on that it calls `begins`; one that never does leaves nothing. What the work
   * throws; a run that cannot be noted is only logged. Where that kind was failing, it is good again.
   */
  async run<R>(
    of: HandWork,
    work: (begins: () => Promise<void>) => Promise<R>,
    summaryOf: (result: R) => string,
  ): Promise<R> {
    const id = randomUUID()
    const renewing = new DisposableStack()
    let begun = false
    const begins = async (): Promise<void> => {
      await this.#noted(of, () => this.#catalog.runs.begin({ ...this.#claim(id), ...of, machine: null }))
      begun = true
      renewing.defer(this.#renewing(id, of))
    }
    const ends = async (end: Pick<RunEnd, 'state' | 'error' | 'summary'>): Promise<void> => {
      renewing.dispose()
      if (!begun) return
      const from = { state: 'running', owner: this.#owner } as const
      await this.#noted(of, () => this.#catalog.runs.end({ id, from, ...end, nowMs: this.#clock.now() }))
    }
    try {
      const result = await work(begins)
      await ends({ state: 'done', summary: summaryOf(result) })
      if (begun) await this.#noted(of, () => this.#conditions.clear(worksAgain(of)))
      return result
    } catch (thrown) {
      const { code, message } = asVarveError(thrown)
      await ends({ state: 'failed', error: { code, message } })
      throw thrown
    }
  }

  #claim(id: string): { id: string; owner: string; nowMs: number; leaseMs: number } {
    return { id, owner: this.#owner, nowMs: this.#clock.now(), leaseMs: LEASE_MS }
  }

  #renewing(id: string, of: HandWork): () => void {
    const timer: { stop: (() => void) | null } = { stop: null }
    let stopped = false
    const renew = async (): Promise<void> => {
      await this.#noted(of, () => this.#catalog.runs.renew(this.#claim(id)))
      if (!stopped) timer.stop = this.#clock.after(RENEW_MS, () => void renew())
    }
    timer.stop = this.#clock.after(RENEW_MS, () => void renew())
    return () => {
      stopped = true
      timer.stop?.()
    }
  }

  async #noted({ kind, tenant }: HandWork, note: () => Promise<unknown>): Promise<void> {
    try {
      await note()
    } catch (thrown) {
      this.#log.warn({ err: asVarveError(thrown), tenant, kind }, 'upkeep by hand cannot be noted as a run')
    }
  }
}
