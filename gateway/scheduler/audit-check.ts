// The daily check of the audit log's chain: what was added since the last one, and all of it where that is quick, or once a week.
import { hex, fromHex } from '../../protocol/chunk.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'
import type { AuditCheck } from '../catalog/audit.ts'
import type { Catalog } from '../catalog/catalog.ts'

/** A log of so many entries is checked whole each time: some seconds beside everything else. */
const WHOLE_ENTRIES_MAX = 100_000

/** A longer one is checked whole after this time, as an old entry may be edited too. */
const WHOLE_INTERVAL_MS = 7 * DAY_MS

/** What is remembered of a log that was found changed. */
export const NOTHING_NOTED = '{}'

/** Up to where the log was good. */
interface AuditNote {
  readonly seq: number
  readonly hash: string
  /** When all of it was checked. */
  readonly wholeMs: number
}

const noteOf = (note: string | undefined): AuditNote | null => {
  const { seq, hash, wholeMs } = JSON.parse(note ?? '{}') as Partial<AuditNote>
  return typeof seq === 'number' && typeof hash === 'string' && typeof wholeMs === 'number'
    ? { seq, hash, wholeMs }
    : null
}

export interface AuditChecked {
  /** Entries that were checked, and all that there are up to the last one of them. */
  readonly checked: number
  readonly entries: number
  /** The first that is missing, edited or added outside the log; null where there is none. */
  readonly brokenSeq: number | null
  /** What the next check begins with. */
  readonly note: string
}

/** Checks the log behind the last note, or all of it; `signal` ends it between two pages. */
export const checkAudit = async (
  { audit }: Pick<Catalog, 'audit'>,
  { note, nowMs, signal }: { readonly note: string | undefined; readonly nowMs: number; readonly signal: AbortSignal },
): Promise<AuditChecked> => {
  const last = noteOf(note)
  const age = last === null ? Number.POSITIVE_INFINITY : nowMs - last.wholeMs
  const whole = last === null || last.seq <= WHOLE_ENTRIES_MAX || age >= WHOLE_INTERVAL_MS || age < 0
  const from = whole ? null : { seq: last.seq, hash: fromHex(last.hash) }
  let at: AuditCheck | null = null
  do {
    signal.throwIfAborted()
    at = await audit.check({ after: at === null ? from : { seq: at.seq, hash: at.hash } })
  } while (!at.done)
  const next: AuditNote = { seq: at.seq, hash: hex(at.hash), wholeMs: whole ? nowMs : last.wholeMs }
  // a broken one is checked whole until it is good
  const left = at.brokenSeq === null ? JSON.stringify(next) : NOTHING_NOTED
  return { checked: at.seq - (from?.seq ?? 0), entries: at.seq, brokenSeq: at.brokenSeq, note: left }
}
