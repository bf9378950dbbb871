// The audit log: entries chained by hash, appended in the transaction of what they record.
import type { AuditRecord } from '../audit-record.ts'
import { AUDIT_PAGE_MAX, type AuditCheck, type AuditEntry } from '../audit.ts'
import { createHash } from 'node:crypto'
import type { ErrorDetails } from '../../../protocol/errors.ts'
import { equalBytes, hex } from '../../../protocol/chunk.ts'
import { aside, read, write, type Operations } from './operation.ts'
import type { Sql } from './sql.ts'
import { tenantRow, tenantUuid } from './tenant-row.ts'

/** Longest subject, action, resource or outcome of an entry, in characters; a longer one is cut. */
export const AUDIT_TEXT_CHARS_MAX = 512

/** Longest details of an entry as JSON, in characters; longer ones are left out. */
export const AUDIT_DETAILS_CHARS_MAX = 4096

/** What the first entry has in place of the hash of the one before. */
const FIRST_HASH = new Uint8Array(32)

/** The setting that holds sequence number and hash of the last entry: without it, a cut tail would not show. */
const HEAD_SETTING = 'audit-head'

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

// the text must survive the database unchanged and must not forge lines where it is printed
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
  // a log whose end was cut off continues after its last number, so the gap stays visible
  const seq = head.seq + 1
  const previous = Uint8Array.from(Buffer.from(head.hashHex, 'hex'))
  const row = {
    seq,
    timeMs: Math.trunc(record.timeMs),
    tenant: record.tenant === null ? null : tenantRow(sql, record.tenant),
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
  // where the head is behind, the last entry was not appended by this program
  return { brokenSeq: whole ? null : Math.max(1, Math.min(seq + 1, head.seq + 1)), done: true, seq, hash }
}

const entryOf = (sql: Sql, row: Row): AuditEntry => ({
  ...row,
  tenant: row.tenant === null ? null : tenantUuid(sql, row.tenant),
  details: JSON.parse(row.details) as ErrorDetails,
})

/** Ends of pages that are remembered for the pages behind them. */
const PAGES_KNOWN_MAX = 1000

const knownPages = new WeakMap<Sql, Map<string, number>>()

/**
 * The log's number of an entry by tenant and number within the tenant, so that the next page need not count from the first entry.
 * Entries never move.
 */
const pagesOf = (sql: Sql): Map<string, number> => {
  const pages = knownPages.get(sql) ?? new Map<string, number>()
  knownPages.set(sql, pages)
  return pages
}

export const auditOperations = {
  'audit.appendAll': write((sql, { records }) => {
    for (const record of records.slice(0, AUDIT_PAGE_MAX)) appendAudit(sql, record)
  }),

  'audit.list': read((sql, page) =>
    sql
      .all<Row>(
        `SELECT ${COLUMNS} FROM audit WHERE tenant IS ? AND seq > ? ORDER BY seq LIMIT ?`,
        page.tenant,
        page.afterSeq,
        Math.max(0, Math.min(page.limit, AUDIT_PAGE_MAX)),
      )
      .map((row) => entryOf(sql, row)),
  ),

  'audit.page': aside((sql, { tenant, after, limit }) => {
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
    return rows.map((row, index) => ({ ...entryOf(sql, row), seq: after + index + 1 }))
  }),

  'audit.check': aside((sql, { after }) =>
    checkPart(sql, { afterSeq: after?.seq ?? 0, hash: after?.hash ?? FIRST_HASH }),
  ),
} satisfies Partial<Operations>
