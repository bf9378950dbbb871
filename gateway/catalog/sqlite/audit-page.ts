// Pages of the audit log of one tenant, from either end, searched or not; numbered within the tenant.
import { AUDIT_PAGE_MAX, AUDIT_SCAN_MAX, type AuditAsked, type AuditEntry, type AuditPage } from '../audit.ts'
import type { ErrorDetails } from '../../../protocol/errors.ts'
import type { Sql } from './sql.ts'
import { tenantUuid } from './tenant-row.ts'

export interface AuditRow {
  seq: number
  timeMs: number
  tenant: number | null
  subject: string
  role: string
  action: string
  resource: string
  outcome: string
  details: string
  previous: Uint8Array
  hash: Uint8Array
}

export const AUDIT_COLUMNS =
  'seq, time_ms AS timeMs, tenant, subject, role, action, resource, outcome, details, previous, hash'

export const auditEntryOf = (sql: Sql, row: AuditRow): AuditEntry => ({
  ...row,
  tenant: row.tenant === null ? null : tenantUuid(sql, row.tenant),
  details: JSON.parse(row.details) as ErrorDetails,
})

/** Places that are remembered. */
const PLACES_KNOWN_MAX = 1000

/** Entries that a search reads at once. */
const SEARCHED_AT_ONCE = 250

interface Place {
  /** Its number within the tenant; 0 is before the first entry. */
  readonly place: number
  /** Its number in the log. */
  readonly seq: number
}

const knownPlaces = new WeakMap<Sql, Map<string, Place>>()

/** Keeps places within tenants, so that not every page counts from the first entry: entries never move. */
class Places {
  readonly #sql: Sql
  readonly #tenant: number | null
  readonly #known: Map<string, Place>

  constructor(sql: Sql, tenant: number | null) {
    this.#sql = sql
    this.#tenant = tenant
    this.#known = knownPlaces.get(sql) ?? new Map<string, Place>()
    knownPlaces.set(sql, this.#known)
  }

  note(key: string, place: Place): void {
    this.#known.delete(`${this.#tenant}/${key}`)
    this.#known.set(`${this.#tenant}/${key}`, place)
    if (this.#known.size > PLACES_KNOWN_MAX) this.#known.delete(this.#known.keys().next().value!)
  }

  /** The entry of this number; the end of the log where there are fewer. */
  at(place: number): Place {
    if (place <= 0) return { place: 0, seq: 0 }
    const known = this.#known.get(`${this.#tenant}/${place}`)
    if (known !== undefined) return known
    const row = this.#sql.get<{ seq: number }>(
      'SELECT seq FROM audit WHERE tenant IS ? ORDER BY seq LIMIT 1 OFFSET ?',
      this.#tenant,
      place - 1,
    )
    return row === undefined ? this.end() : { place, seq: row.seq }
  }

  /** The last entry; only those that came since it was asked last are counted. */
  end(): Place {
    const { place, seq } = this.#known.get(`${this.#tenant}/end`) ?? { place: 0, seq: 0 }
    const added = this.#sql.get<{ entries: number; seq: number | null }>(
      'SELECT count(*) AS entries, max(seq) AS seq FROM audit WHERE tenant IS ? AND seq > ?',
      this.#tenant,
      seq,
    )!
    const end = { place: place + added.entries, seq: added.seq ?? seq }
    this.note('end', end)
    return end
  }
}

const matcher = ({ contains, failed }: AuditAsked<unknown>): ((row: AuditRow) => boolean) => {
  const text = contains?.toLowerCase() ?? null
  return ({ subject, role, action, resource, outcome, details }) =>
    !(failed && (outcome === 'ok' || outcome === 'begun')) &&
    (text === null ||
      [subject, role, action, resource, outcome, details].some((one) => one.toLowerCase().includes(text)))
}

/** The entries of a page, and the number behind which the next one goes on; at most AUDIT_SCAN_MAX are looked at. */
export const auditPage = (sql: Sql, asked: AuditAsked<number | null>): AuditPage => {
  const { tenant, newest } = asked
  const places = new Places(sql, tenant)
  const limit = Math.max(1, Math.min(asked.limit, AUDIT_PAGE_MAX))
  const [step, order] = newest ? [-1, 'seq < ? ORDER BY seq DESC'] : [1, 'seq > ? ORDER BY seq']
  const query = `SELECT ${AUDIT_COLUMNS} FROM audit WHERE tenant IS ? AND ${order} LIMIT ?`
  const fits = matcher(asked)
  const all = asked.contains === null && !asked.failed
  const end = newest && asked.after === null ? places.end() : null
  let at: Place = end === null ? places.at(asked.after ?? 0) : { place: end.place + 1, seq: end.seq + 1 }
  const entries: AuditEntry[] = []
  for (let looked = 0; looked < AUDIT_SCAN_MAX && entries.length < limit;) {
    const atOnce = all ? limit : Math.min(SEARCHED_AT_ONCE, AUDIT_SCAN_MAX - looked)
    const rows = sql.all<AuditRow>(query, tenant, at.seq, atOnce)
    for (const row of rows) {
      if (entries.length === limit) break
      at = { place: at.place + step, seq: row.seq }
      looked++
      if (fits(row)) entries.push({ ...auditEntryOf(sql, row), seq: at.place })
    }
    if (rows.length < atOnce) break
  }
  const more = sql.get(`SELECT 1 FROM audit WHERE tenant IS ? AND ${order} LIMIT 1`, tenant, at.seq) !== undefined
  places.note(String(at.place), at)
  return { entries, next: more ? at.place : null }
}
