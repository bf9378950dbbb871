// The gateway's side of the audit log: appending, reading, checking, and refusals in bounded number.
import type { AuditRecord } from '../catalog/audit-record.ts'
import { AUDIT_PAGE_MAX, type AuditCheck } from '../catalog/audit.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import type { Catalog } from '../catalog/catalog.ts'
import { Queue } from '../../protocol/host/limiter.ts'
import { TokenRefused } from './jwt.ts'

/** Refusals of one tenant (or of unknown callers) that are written one by one in a window; the rest are counted. */
export const REFUSALS_PER_WINDOW_MAX = 60

/** Length of that window, in milliseconds. */
export const REFUSAL_WINDOW_MS = 60_000

/** Tenants whose refusals are counted apart at once; past that they share one window. */
const WINDOWS_MAX = 1024

/** Entries that wait because they cannot be written, as on a full disk; further ones are counted for a summary entry. */
export const ENTRIES_WAITING_MAX = 4096

/** How long after a failure waiting entries are retried, in milliseconds. */
export const RETRY_INTERVAL_MS = 2000

export interface AuditOptions {
  readonly catalog: Catalog
  /** Called for each entry that could not be written yet, and for other failures. */
  readonly onError: (error: VarveError, entry?: AuditRecord) => void
}

interface Window {
  readonly tenant: string | null
  readonly fromMs: number
  written: number
  /** What was counted and not written, by code. */
  readonly counted: Map<string, number>
  lastMs: number
}

/** The audit log of one gateway. */
export class Audit implements AsyncDisposable {
  readonly #catalog: Catalog
  readonly #onError: AuditOptions['onError']
  readonly #windows = new Map<string | null, Window>()
  #timer: NodeJS.Timeout | null = null
  readonly #writes = new Queue()
  /** In the order in which they came; what cannot be written stays. */
  readonly #waiting: AuditRecord[] = []
  /** Entries dropped from the queue, and since when. */
  #uncounted = { entries: 0, fromMs: 0 }
  #retry: NodeJS.Timeout | null = null

  constructor(options: AuditOptions) {
    this.#catalog = options.catalog
    this.#onError = options.onError
  }

  /**
   * Records one entry behind all that wait; never throws, as the act is done. One that cannot be written goes to `onError` whole,
   * waits in memory, and is written in order once that works again.
   */
  async record(record: AuditRecord): Promise<void> {
    if (this.#waiting.length >= ENTRIES_WAITING_MAX) {
      const { entries, fromMs } = this.#uncounted
      this.#uncounted = { entries: entries + 1, fromMs: entries === 0 ? record.timeMs : fromMs }
    } else this.#waiting.push(record)
    const error = await this.#writes.run(() => this.#writeWaiting())
    if (error !== null) this.#onError(error, record)
  }

  /**
   * Checks all entries from the first one on: how many are as they were written, and the sequence number of the first that is
   * missing, edited or added outside the log; null where there is none.
   */
  async check(
    onChecked: (entries: number) => void = () => {},
    signal?: AbortSignal,
  ): Promise<{ readonly entries: number; readonly brokenSeq: number | null }> {
    let at: AuditCheck | null = null
    do {
      signal?.throwIfAborted()
      at = await this.#catalog.audit.check({ after: at === null ? null : { seq: at.seq, hash: at.hash } })
      onChecked(at.seq)
    } while (!at.done)
    return { entries: at.seq, brokenSeq: at.brokenSeq }
  }

  /**
   * Records a refused call, whose outcome is the error's code; past REFUSALS_PER_WINDOW_MAX in a window it is counted for a
   * summary entry. Never throws.
   */
  async refused(refusal: AuditRecord): Promise<void> {
    try {
      await this.#flushEnded(refusal.timeMs)
      const window = this.#window(refusal)
      window.lastMs = refusal.timeMs
      const { outcome } = refusal
      if (window.written >= REFUSALS_PER_WINDOW_MAX) {
        window.counted.set(outcome, (window.counted.get(outcome) ?? 0) + 1)
        this.#startTimer()
        return
      }
      window.written++
      await this.record(refusal)
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
        const { address, ...when } = attempt
        const outcome = { resource: '', outcome: error.code, details: { address } }
        await this.refused({ ...when, tenant, subject, role, ...outcome })
      }
      throw error
    }
  }

  /** Writes the summary entries for what was only counted so far. */
  async flush(): Promise<void> {
    await this.#flushEnded(Number.POSITIVE_INFINITY)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#retry !== null) clearTimeout(this.#retry)
    this.#timer = null
    await this.flush()
    await this.#writes.run(() => this.#writeWaiting())
    if (this.#retry !== null) clearTimeout(this.#retry)
    for (const entry of this.#waiting) this.#onError(new VarveError('STORE_FAILED', 'lost at the end'), entry)
  }

  /** Writes what waits; returns the error of what could not be written, which is retried later. */
  async #writeWaiting(): Promise<VarveError | null> {
    try {
      while (this.#waiting.length > 0) {
        const records = this.#waiting.slice(0, AUDIT_PAGE_MAX)
        await this.#catalog.audit.appendAll({ records })
        this.#waiting.splice(0, records.length)
        this.#sumUp()
      }
      return null
    } catch (thrown) {
      this.#retry ??= setTimeout(() => {
        this.#retry = null
        void this.#writes.run(() => this.#writeWaiting())
      }, RETRY_INTERVAL_MS).unref()
      return asVarveError(thrown)
    }
  }

  /** Adds an entry for those dropped from the queue, once it has room again. */
  #sumUp(): void {
    const { entries: count, fromMs } = this.#uncounted
    if (count === 0) return
    this.#uncounted = { entries: 0, fromMs: 0 }
    const nobody = { tenant: null, subject: '', role: '', resource: '' }
    this.#waiting.push({ ...nobody, timeMs: fromMs, action: 'audit', outcome: 'counted', details: { count, fromMs } })
  }

  #window({ tenant, timeMs }: AuditRecord): Window {
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
    // removed from the map before any await, so that no count is written twice
    for (const [key] of ended) this.#windows.delete(key)
    for (const [, { tenant, fromMs, lastMs, counted }] of ended) {
      if (counted.size === 0) continue
      const count = [...counted.values()].reduce((sum, n) => sum + n, 0)
      const details = { ...Object.fromEntries(counted), count, fromMs }
      const nobody = { subject: '', role: '', resource: '' }
      await this.record({ ...nobody, timeMs: lastMs, tenant, action: 'refusals', outcome: 'counted', details })
    }
  }

  // a flood that stops needs its summary too, though no further refusal comes
  #startTimer(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null
      this.flush().catch((error: unknown) => this.#onError(asVarveError(error)))
    }, REFUSAL_WINDOW_MS).unref()
  }
}

const isRefusal = ({ code }: VarveError): boolean =>
  code.startsWith('TOKEN_') || code === 'AGENT_REVOKED' || code === 'LOGIN_CODE_INVALID' || code === 'ENROLMENT_USED'
