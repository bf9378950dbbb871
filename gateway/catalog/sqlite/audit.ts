// The audit log: entries chained by hash, appended in the transaction of what they record.
import type { AuditRecord } from '../audit-record.ts'
import { AUDIT_PAGE_MAX, type AuditCheck } from '../audit.ts'
import { createHash } from 'node:crypto'
import type { ErrorDetails } from '../../../protocol/errors.ts'
import { equalBytes, hex } from '../../../protocol/chunk.ts'
import { AUDIT_COLUMNS, auditEntryOf, auditPage, type AuditRow } from './audit-page.ts'
import { aside, read, write, type Operations } from './operation.ts'
import type { Sql } from './sql.ts'
import { tenantRow } from './tenant-row.ts'

/** Longest subject, action, resource or outcome of an entry, in characters; a longer one is cut. */
export const AUDIT_TEXT_CHARS_MAX = 512

/** Longest details of an entry as JSON, in characters; longer ones are left out. */
export const AUDIT_DETAILS_CHARS_MAX = 4096

/** What the first entry has in place of the hash of the one before. */
const FIRST_HASH = new Uint8Array(32)

/** The setting that holds sequence number and hash of the last entry: without it, a cut tail would not show. */
const HEAD_SETTING = 'audit-head'

/** SHA-256(previous ‖ JSON array of the columns in the order of the table), 32 bytes. */
const hashOf = (previous: Uint8Array, row: Omit<AuditRow, 'previous' | 'hash'>): Uint8Array => {
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
  const rows = sql.all<AuditRow>(
    `SELECT ${AUDIT_COLUMNS} FROM audit WHERE seq > ? ORDER BY seq LIMIT ?`,
    seq,
    AUDIT_PAGE_MAX,
  )
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

export const auditOperations = {
  'audit.appendAll': write((sql, { records }) => {
    for (const record of records.slice(0, AUDIT_PAGE_MAX)) appendAudit(sql, record)
  }),

  'audit.list': read((sql, page) =>
    sql
      .all<AuditRow>(
        `SELECT ${AUDIT_COLUMNS} FROM audit WHERE tenant IS ? AND seq > ? ORDER BY seq LIMIT ?`,
        page.tenant,
        page.afterSeq,
        Math.max(0, Math.min(page.limit, AUDIT_PAGE_MAX)),
      )
      .map((row) => auditEntryOf(sql, row)),
  ),

  'audit.page': aside(auditPage),

  'audit.check': aside((sql, { after }) =>
    checkPart(sql, { afterSeq: after?.seq ?? 0, hash: after?.hash ?? FIRST_HASH }),
  ),
} satisfies Partial<Operations>
