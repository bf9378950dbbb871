// Upkeep as it is done: claimed by one gateway, done beside the backups, its lease prolonged while it lasts.
import { randomUUID } from 'node:crypto'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { RunKind } from '../../protocol/runs.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { RunEnd, RunRow } from '../catalog/runs.ts'
import { runpoint } from '../common/runpoint.ts'
import { LEASE_MS, WORKS_PER_GATEWAY_MAX, WORKS_PER_TENANT_MAX } from './limits.ts'
import { ATTEMPTS_MAX, HOLD_MS, retryAt, WAIT_MS_MAX } from './retry.ts'
import type { Work, WorkEnd } from './work.ts'

/** The lease is prolonged so often while work lasts, in milliseconds. */
const RENEW_MS = LEASE_MS / 3

/** Upkeep gives way to backups that wait for a place for so long, in milliseconds. */
const GIVES_WAY_MS = 24 * 3_600_000

/** What a look at the open runs of upkeep gives. */
export interface WorkRound {
  /** In the order in which they are to be claimed. */
  readonly claims: readonly RunRow[]
  /** Those that died too often with their gateways. */
  readonly ends: readonly RunEnd[]
  readonly nextMs: number
}

/** Whether nobody works on a running run any more, as the clock of this gateway has it. */
const isLeft = ({ leaseMs }: RunRow, nowMs: number): boolean =>
  leaseMs === null || leaseMs <= nowMs || leaseMs > nowMs + 2 * LEASE_MS

const LOST = {
  code: 'LEASE_LOST',
  message: `the gateway stopped ${ATTEMPTS_MAX} times while this was done`,
} as const

/** Which upkeep is to be claimed now. Pure. */
export const planWorks = (
  runs: readonly RunRow[],
  {
    nowMs,
    own,
    kinds,
    held,
  }: {
    readonly nowMs: number
    /** Runs that this gateway works on. */
    readonly own: ReadonlySet<string>
    readonly kinds: ReadonlySet<RunKind>
    /** Backups wait for a place. */
    readonly held: boolean
  },
): WorkRound => {
  const upkeep = runs.filter(({ kind }) => kind !== 'backup')
  const busy = upkeep.filter((run) => run.state === 'running' && (own.has(run.id) || !isLeft(run, nowMs)))
  const taken = new Map<string | null, number>()
  const take = ({ tenant }: RunRow): void => void taken.set(tenant, (taken.get(tenant) ?? 0) + 1)
  busy.forEach(take)
  let free = WORKS_PER_GATEWAY_MAX - busy.length
  const claims: RunRow[] = []
  const ends: RunEnd[] = []
  let nextMs = Number.POSITIVE_INFINITY
  for (const run of upkeep) {
    if (busy.includes(run) || own.has(run.id) || !kinds.has(run.kind)) continue
    if (run.state === 'running' && run.by !== null) {
      // a person's: whoever waited for it is gone with its gateway
      ends.push({ id: run.id, from: { state: 'running', owner: run.owner ?? '' }, state: 'failed', error: LOST, nowMs })
    } else if (run.state === 'running' && run.attempts >= ATTEMPTS_MAX) {
      ends.push({ id: run.id, from: { state: 'running', owner: run.owner ?? '' }, state: 'failed', error: LOST, nowMs })
    } else if (run.nextMs !== null && run.nextMs > nowMs && run.nextMs <= nowMs + WAIT_MS_MAX) {
      nextMs = Math.min(nextMs, run.nextMs)
    } else if (
      free > 0 &&
      (taken.get(run.tenant) ?? 0) < WORKS_PER_TENANT_MAX &&
      (!held || nowMs - run.dueMs > GIVES_WAY_MS)
    ) {
      free--
      take(run)
      claims.push(run)
    }
  }
  return { claims, ends, nextMs }
}

interface WorksOptions {
  readonly catalog: Pick<Catalog, 'runs' | 'tenants'>
  readonly works: readonly Work[]
  /** Called when one has ended. */
  readonly onEnd: () => void
  readonly clock: Clock
  readonly log: Log
}

/** The upkeep that this gateway is doing. */
export class Works implements AsyncDisposable {
  readonly #options: WorksOptions
  readonly #works: ReadonlyMap<RunKind, Work>
  readonly #owner = randomUUID()
  readonly #running = new Map<string, { readonly abort: AbortController; readonly ended: Promise<void> }>()
  #closed = false

  constructor(options: WorksOptions) {
    this.#options = options
    this.#works = new Map(options.works.map((work) => [work.kind, work]))
  }

  get kinds(): ReadonlySet<RunKind> {
    return new Set(this.#works.keys())
  }

  /** Ids of the runs that it works on. */
  get own(): ReadonlySet<string> {
    return new Set(this.#running.keys())
  }

  /** Resolves when all that is running has ended. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all([...this.#running.values()].map(({ ended }) => ended))
  }

  /** Claims a run and begins with it; false where another gateway has it. */
  async claim(run: RunRow): Promise<boolean> {
    const { catalog, clock } = this.#options
    runpoint('run.claim', run.id)
    const claim = { id: run.id, owner: this.#owner, nowMs: clock.now(), leaseMs: LEASE_MS }
    if (this.#closed || !(await catalog.runs.claim(claim))) return false
    runpoint('run.claimed', run.id)
    const abort = new AbortController()
    const ended = this.#do(run, abort).finally(() => {
      this.#running.delete(run.id)
      this.#options.onEnd()
    })
    this.#running.set(run.id, { abort, ended })
    return true
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    const reason = new VarveError('GOING_AWAY', 'the gateway stops')
    for (const { abort } of this.#running.values()) abort.abort(reason)
    await this.settled()
  }

  async #do(run: RunRow, abort: AbortController): Promise<void> {
    const { catalog, log } = this.#options
    const stopRenewing = this.#renewing(run.id, abort)
    try {
      const tenant = run.tenant === null ? null : await catalog.tenants.byId({ id: run.tenant })
      if (tenant === null && run.tenant !== null) return await this.#end(run, { skipped: 'gone' })
      await this.#end(run, await this.#works.get(run.kind)!.run(tenant, abort.signal))
    } catch (thrown) {
      const error = asVarveError(thrown)
      log[abort.signal.aborted ? 'info' : 'warn'](
        { run: run.id, kind: run.kind, code: error.code, reason: error.message },
        'upkeep failed',
      )
      await this.#failed(run, error, abort.signal.aborted).catch((ending: unknown) =>
        log.error({ err: asVarveError(ending), run: run.id }, 'the end of upkeep cannot be noted'),
      )
    } finally {
      stopRenewing()
    }
  }

  /** Prolongs the lease until it is told to stop; where another gateway has taken the run, the work is ended. */
  #renewing(id: string, abort: AbortController): () => void {
    const { catalog, clock, log } = this.#options
    let stop: (() => void) | null = null
    let stopped = false
    const later = (): void => {
      stop = clock.after(RENEW_MS, () => void renew())
    }
    const renew = async (): Promise<void> => {
      try {
        const claim = { id, owner: this.#owner, nowMs: clock.now(), leaseMs: LEASE_MS }
        if (!(await catalog.runs.renew(claim)) && !stopped)
          abort.abort(new VarveError('LEASE_LOST', 'another gateway has taken over this upkeep'))
      } catch (thrown) {
        // the lease holds for some time yet
        log.warn({ err: asVarveError(thrown), run: id }, 'a lease of upkeep could not be prolonged')
      }
      if (!stopped) later()
    }
    later()
    return () => {
      stopped = true
      stop?.()
    }
  }

  async #end({ id }: RunRow, end: WorkEnd): Promise<void> {
    const { catalog, clock } = this.#options
    const skipped = 'skipped' in end ? end.skipped : null
    const state = skipped === null ? 'done' : 'skipped'
    const from = { state: 'running', owner: this.#owner } as const
    await catalog.runs.end({ id, from, state, skipped, summary: end.summary ?? '', nowMs: clock.now() })
  }

  /** What was cut short is due again at once; else it is tried again as backups are, or has failed. */
  async #failed(run: RunRow, { code, message }: VarveError, aborted: boolean): Promise<void> {
    const { catalog, clock } = this.#options
    const nowMs = clock.now()
    const from = { state: 'running', owner: this.#owner } as const
    const attempts = run.attempts + 1
    const end = { id: run.id, from, error: { code, message }, nowMs }
    if (aborted) await catalog.runs.end({ ...end, state: 'due', nextMs: null, attempts: run.attempts })
    else if (code === 'MAINTENANCE_RUNNING')
      await catalog.runs.end({ ...end, state: 'due', nextMs: nowMs + HOLD_MS, attempts: run.attempts })
    else {
      const nextMs = retryAt({ code, attempts, nowMs, nextSlotMs: null })
      await catalog.runs.end({ ...end, state: nextMs === null ? 'failed' : 'due', nextMs })
    }
  }
}
