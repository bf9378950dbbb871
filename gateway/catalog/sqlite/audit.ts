// The audit log: entries chained by hash, appended in the transaction of what they record.
import { createHash } from 'node:crypto'
import type { ErrorDetails } from '../../../protocol/errors.ts'
import { equalBytes, hex } from '../../../protocol/chunk.ts'
import { aside, read, write } from './operation.ts'
import type { Sql } from './sql.ts'

/** Longest subject, action, resource or outcome of an entry, in characters; a longer one is cut. */
export const AUDIT_TEXT_CHARS_MAX = 512

/** Longest details of an entry as JSON, in characters; longer ones are left out. */
export const AUDIT_DETAILS_CHARS_MAX = 4096

/** Most entries that one call lists or checks. */
export const AUDIT_PAGE_MAX = 1000

/** What the first entry has in place of the hash of the one before. */
const FIRST_HASH = new Uint8Array(32)

/** The setting that holds sequence number and hash of the last entry: without it, a cut tail would not show. */
const HEAD_SETTING = 'audit-head'

export interface AuditRecord {
  readonly timeMs: number
  /** The tenant whose log shows it; null for what concerns the gateway alone. */
  readonly tenant: number | null
  readonly subject: string
  readonly role: string
  readonly action: string
  readonly resource: string
  /** `ok`, or the code of the error. */
  readonly outcome: string
  readonly details: ErrorDetails
}

export interface AuditEntry extends AuditRecord {
  readonly seq: number
  readonly previous: Uint8Array
  readonly hash: Uint8Array
}

/** How far a check came: `brokenSeq` is the first entry that is not what was written. */
export interface AuditCheck {
  readonly brokenSeq: number | null
  readonly done: boolean
  readonly seq: number
  readonly hash: Uint8Array
}

interface Row {
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

const COLUMNS = 'seq, time_ms AS timeMs, tenant, subject, role, action, resource, outcome, details, previous, hash'

/** SHA-256(previous ‖ JSON array of the columns in the order of the table), 32 bytes. */
const hashOf = (previous: Uint8Array, row: Omit<Row, 'previous' | 'hash'>): Uint8Array => {
  const { seq, timeMs, tenant, subject, role, action, resource, outcome, details } = row
  const text = JSON.stringify([seq, timeMs, tenant, subject, role, action, resource, outcome, details])
  return Uint8Array.from(createHash('sha256').update(previous).update(text).digest())
}

// the text must come out of the database as it went in, and must not forge lines where it is printed
const clean = (text: string): string =>
  text
    .slice(0, AUDIT_TEXT_CHARS_MAX)
    .toWellFormed()
    .replaceAll(/\p{Cc}/gu, '\uFFFD')

const canonical = (details: ErrorDetails): string => {
  const sorted = Object.entries(details).sort(([a], [b]) => (a < b ? -1 : 1))
  const text = JSON.stringify(Object.fromEntries(sorted))
  return text.length > AUDIT_DETAILS_CHARS_MAX ? '{"cut":true}' : text
}

const headOf = (sql: Sql): { seq: number; hashHex: string } => {
  const value = sql.get<{ value: string }>('SELECT value FROM setting WHERE name = ?', HEAD_SETTING)?.value
  const [seq, hashHex] = value === undefined ? [] : value.split(':')
  return { seq: Number(seq ?? 0), hashHex: hashHex ?? hex(FIRST_HASH) }
}

/** Appends one entry inside the caller's transaction and returns its sequence number. */
export const appendAudit = (sql: Sql, record: AuditRecord): number => {
  const head = headOf(sql)
  // a log whose end was cut off goes on after the number it had: the gap stays visible
  const seq = head.seq + 1
  const previous = Uint8Array.from(Buffer.from(head.hashHex, 'hex'))
  const row = {
    seq,
    timeMs: Math.trunc(record.timeMs),
    tenant: record.tenant,
    subject: clean(record.subject),
    role: clean(record.role),
    action: clean(record.action),
    resource: clean(record.resource),
    outcome: clean(record.outcome),
    details: canonical(record.details),
  }
  const hash = hashOf(previous, row)
  sql.run(
    `INSERT INTO audit (seq, time_ms, tenant, subject, role, action, resource, outcome, details, previous, hash)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    row.seq,
    row.timeMs,
    row.tenant,
    row.subject,
    row.role,
    row.action,
    row.resource,
    row.outcome,
    row.details,
    previous,
    hash,
  )
  sql.run('INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)', HEAD_SETTING, `${seq}:${hex(hash)}`)
  return seq
}

const checkPart = (sql: Sql, from: { afterSeq: number; hash: Uint8Array }): AuditCheck => {
  let { afterSeq: seq, hash } = from
  const rows = sql.all<Row>(`SELECT ${COLUMNS} FROM audit WHERE seq > ? ORDER BY seq LIMIT ?`, seq, AUDIT_PAGE_MAX)
  for (const row of rows) {
    const good = row.seq === seq + 1 && equalBytes(row.previous, hash) && equalBytes(row.hash, hashOf(hash, row))
    if (!good) return { brokenSeq: seq + 1, done: true, seq, hash }
    ;({ seq, hash } = row)
  }
  if (rows.length === AUDIT_PAGE_MAX) return { brokenSeq: null, done: false, seq, hash }
  const head = headOf(sql)
  const whole = head.seq === seq && head.hashHex === hex(hash)
  // where the head is behind, the last entry is one that nobody appended
  return { brokenSeq: whole ? null : Math.max(1, Math.min(seq + 1, head.seq + 1)), done: true, seq, hash }
}

/** Ends of pages that are remembered for the pages behind them. */
const PAGES_KNOWN_MAX = 1000

const knownPages = new WeakMap<Sql, Map<string, number>>()

/** The log's number of an entry by its tenant and its number within the tenant: who reads on need not be counted from the first entry. Entries never change places. */
const pagesOf = (sql: Sql): Map<string, number> => {
  const pages = knownPages.get(sql) ?? new Map<string, number>()
  knownPages.set(sql, pages)
  return pages
}

export const auditOperations = {
  /** Sequence number of the new entry. */
  'audit.append': write((sql: Sql, record: AuditRecord): number => appendAudit(sql, record)),

  /** Appends entries in their order, all or none; at most AUDIT_PAGE_MAX. */
  'audit.appendAll': write((sql: Sql, { records }: { records: readonly AuditRecord[] }): void => {
    for (const record of records.slice(0, AUDIT_PAGE_MAX)) appendAudit(sql, record)
  }),

  /** One tenant's entries (or, for null, the gateway's own) after a sequence number, oldest first, at most AUDIT_PAGE_MAX. */
  'audit.list': read((sql: Sql, page: { tenant: number | null; afterSeq: number; limit: number }): AuditEntry[] =>
    sql
      .all<Row>(
        `SELECT ${COLUMNS} FROM audit WHERE tenant IS ? AND seq > ? ORDER BY seq LIMIT ?`,
        page.tenant,
        page.afterSeq,
        Math.max(0, Math.min(page.limit, AUDIT_PAGE_MAX)),
      )
      .map((row) => ({ ...row, details: JSON.parse(row.details) as ErrorDetails })),
  ),

  /** A tenant's entries (or, for null, the gateway's own) behind the first `after`, numbered among themselves: the log's own numbers would tell how busy others are. */
  'audit.page': aside(
    (sql: Sql, { tenant, after, limit }: { tenant: number | null; after: number; limit: number }): AuditEntry[] => {
      const pages = pagesOf(sql)
      const known = pages.get(`${tenant}/${after}`)
      const from = known === undefined ? { seq: 0, offset: after } : { seq: known, offset: 0 }
      const rows = sql.all<Row>(
        `SELECT ${COLUMNS} FROM audit WHERE tenant IS ? AND seq > ? ORDER BY seq LIMIT ? OFFSET ?`,
        tenant,
        from.seq,
        Math.max(0, Math.min(limit, AUDIT_PAGE_MAX)),
        from.offset,
      )
      const last = rows.at(-1)
      if (last !== undefined) {
        pages.set(`${tenant}/${after + rows.length}`, last.seq)
        if (pages.size > PAGES_KNOWN_MAX) pages.delete(pages.keys().next().value!)
      }
      return rows.map((row, index) => ({
        ...row,
        seq: after + index + 1,
        details: JSON.parse(row.details) as ErrorDetails,
      }))
    },
  ),

  /** Checks the next AUDIT_PAGE_MAX entries; null starts at the first one. */
  'audit.check': aside((sql: Sql, { after }: { after: { seq: number; hash: Uint8Array } | null }): AuditCheck =>
    checkPart(sql, { afterSeq: after?.seq ?? 0, hash: after?.hash ?? FIRST_HASH }),
  ),
}
