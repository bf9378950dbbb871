// The gateway's side of the audit log: appending, reading, checking, and refusals in bounded number.
import { asVarveError, type VarveError } from '../../protocol/errors.ts'
import type { AuditCheck, AuditEntry, AuditRecord } from '../datastore/database/audit.ts'
import type { Database } from '../datastore/database/database.ts'
import { TokenRefused } from './jwt.ts'

/** Refusals of one tenant (or of nobody known) that are written one by one in a window; the rest are counted. */
export const REFUSALS_PER_WINDOW_MAX = 60

/** Length of that window, in milliseconds. */
export const REFUSAL_WINDOW_MS = 60_000

/** Tenants whose refusals are counted apart at once; past that they share one window. */
const WINDOWS_MAX = 1024

/** One refused call: who, what, from where, and the error that answered it. */
export interface Refusal {
  readonly timeMs: number
  readonly tenant: number | null
  readonly subject: string
  readonly role: string
  readonly action: string
  readonly resource: string
  readonly error: VarveError
  /** The peer's network address. */
  readonly address: string
}

interface Window {
  readonly tenant: number | null
  readonly fromMs: number
  written: number
  /** What was counted and not written, by code. */
  readonly counted: Map<string, number>
  lastMs: number
}

/** The audit log of one gateway. */
export class Audit implements AsyncDisposable {
  readonly #database: Database
  readonly #onError: (error: VarveError) => void
  readonly #windows = new Map<number | null, Window>()
  #timer: NodeJS.Timeout | null = null

  constructor(options: { readonly database: Database; readonly onError: (error: VarveError) => void }) {
    this.#database = options.database
    this.#onError = options.onError
  }

  /** Sequence number of the new entry; STORE_FAILED. */
  append(record: AuditRecord): Promise<number> {
    return this.#database.call('audit.append', record)
  }

  list(page: {
    readonly tenant: number | null
    readonly afterSeq: number
    readonly limit: number
  }): Promise<AuditEntry[]> {
    return this.#database.call('audit.list', page)
  }

  /** Sequence number of the first entry that is missing, edited or added beside the log; null when all are as written. */
  async check(): Promise<number | null> {
    let at: AuditCheck | null = null
    do {
      at = await this.#database.call('audit.check', { after: at === null ? null : { seq: at.seq, hash: at.hash } })
    } while (!at.done)
    return at.brokenSeq
  }

  /** Records a refusal; past REFUSALS_PER_WINDOW_MAX in a window it is counted for one entry that sums up. Never throws. */
  async refused(refusal: Refusal): Promise<void> {
    try {
      await this.#flushEnded(refusal.timeMs)
      const window = this.#window(refusal)
      window.lastMs = refusal.timeMs
      const { code } = refusal.error
      if (window.written >= REFUSALS_PER_WINDOW_MAX) {
        window.counted.set(code, (window.counted.get(code) ?? 0) + 1)
        this.#startTimer()
        return
      }
      window.written++
      const { timeMs, tenant, subject, role, action, resource, address } = refusal
      await this.append({ timeMs, tenant, subject, role, action, resource, outcome: code, details: { address } })
    } catch (error) {
      this.#onError(asVarveError(error))
    }
  }

  /** Runs `work`; a token that it refuses is recorded and thrown on. For connecting and enrolling. */
  async guard<R>(
    attempt: { readonly action: string; readonly address: string; readonly timeMs: number },
    work: () => Promise<R>,
  ): Promise<R> {
    try {
      return await work()
    } catch (thrown) {
      const error = asVarveError(thrown)
      if (isRefusal(error)) {
        const bearer = error instanceof TokenRefused ? error.bearer : null
        const { tenantId: tenant, subject, role } = bearer ?? { tenantId: null, subject: '', role: '' }
        await this.refused({ ...attempt, tenant, subject, role, resource: '', error })
      }
      throw error
    }
  }

  /** Writes the entries that sum up what was only counted so far. */
  async flush(): Promise<void> {
    await this.#flushEnded(Number.POSITIVE_INFINITY)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    await this.flush()
  }

  #window({ tenant, timeMs }: Refusal): Window {
    const key = this.#windows.has(tenant) || this.#windows.size < WINDOWS_MAX ? tenant : null
    let window = this.#windows.get(key)
    if (window === undefined) {
      window = { tenant: key, fromMs: timeMs, written: 0, counted: new Map(), lastMs: timeMs }
      this.#windows.set(key, window)
    }
    return window
  }

  async #flushEnded(nowMs: number): Promise<void> {
    const ended = [...this.#windows].filter(([, { fromMs }]) => Math.abs(nowMs - fromMs) >= REFUSAL_WINDOW_MS)
    // out of the map before anything waits, so that no count is written twice
    for (const [key] of ended) this.#windows.delete(key)
    for (const [, { tenant, fromMs, lastMs, counted }] of ended) {
      if (counted.size === 0) continue
      const count = [...counted.values()].reduce((sum, n) => sum + n, 0)
      const details = { ...Object.fromEntries(counted), count, fromMs }
      const nobody = { subject: '', role: '', resource: '' }
      await this.append({ ...nobody, timeMs: lastMs, tenant, action: 'refusals', outcome: 'counted', details })
    }
  }

  // a flood that stops must be summed up too, though no further refusal comes
  #startTimer(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null
      this.flush().catch((error: unknown) => this.#onError(asVarveError(error)))
    }, REFUSAL_WINDOW_MS).unref()
  }
}

const isRefusal = ({ code }: VarveError): boolean =>
  code.startsWith('TOKEN_') || code === 'AGENT_REVOKED' || code === 'ENROLMENT_USED'
