// Conditions that hold: each change and the event that tells it are one transaction, so it is told exactly once.
import type { ConditionKind } from '../../../protocol/events.ts'
import {
  EVENTS_PAGE_MAX,
  type ConditionChange,
  type ConditionClear,
  type ConditionRow,
  type ConditionSet,
} from '../events.ts'
import { appendEvent, bounded, eventTenant, groupOf, PLATFORM } from './events.ts'
import { aside, write, type Operations } from './operation.ts'
import type { Sql, SqlValue } from './sql.ts'

interface Held {
  readonly kind: ConditionKind
  readonly value: string
  readonly severity: string
}

const heldOf = (sql: Sql, tenant: number, key: string): Held | undefined =>
  sql.get<Held & object>('SELECT kind, value, severity FROM condition WHERE tenant = ? AND key = ?', tenant, key)

const set = (sql: Sql, tenant: number, change: ConditionSet, nowMs: number): boolean => {
  const { kind, key, severity, machine, value } = change
  const held = heldOf(sql, tenant, key)
  if (held?.value === value && held.severity === severity) return false
  const seq = appendEvent(sql, { ...change, tenant, timeMs: nowMs, active: true })
  const { text, data } = bounded(change)
  sql.run(
    `INSERT OR REPLACE INTO condition (tenant, key, kind, severity, machine, member_of, value, text, data, since_ms, seq)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    tenant,
    key,
    kind,
    severity,
    machine,
    groupOf(sql, tenant, machine),
    value,
    text,
    data,
    nowMs,
    seq,
  )
  return true
}

const clear = (sql: Sql, tenant: number, change: ConditionClear, nowMs: number): boolean => {
  if (sql.run('DELETE FROM condition WHERE tenant = ? AND key = ?', tenant, change.key) === 0) return false
  appendEvent(sql, { ...change, tenant, timeMs: nowMs, severity: 'info', active: false })
  return true
}

/** Changes a condition inside the caller's transaction; whether it is another one than before. */
export const changeCondition = (sql: Sql, change: ConditionChange, nowMs: number): boolean => {
  const tenant = eventTenant(sql, change.tenant)
  if (tenant === null) return false
  return change.holds ? set(sql, tenant, change, nowMs) : clear(sql, tenant, change, nowMs)
}

const listed = (sql: Sql, where: string, ...values: SqlValue[]): ConditionRow[] =>
  sql
    .all<Omit<ConditionRow, 'data'> & { readonly data: string }>(
      `SELECT tenant.uuid AS tenant, tenant.name AS tenantName, key, kind, severity, machine, member_of AS "group", value, text,
       data, since_ms AS sinceMs FROM condition LEFT JOIN tenant ON tenant.id = condition.tenant
       WHERE ${where} ORDER BY condition.tenant, key`,
      ...values,
    )
    .map(({ data, ...row }) => ({ ...row, data: JSON.parse(data) as ConditionRow['data'] }))

export const conditionOperations = {
  'conditions.apply': write((sql, { changes, nowMs }) =>
    changes.slice(0, EVENTS_PAGE_MAX).map((change) => changeCondition(sql, change, nowMs)),
  ),

  'conditions.of': aside((sql, { tenant, kind }) =>
    listed(sql, 'condition.tenant = ?1 AND (?2 IS NULL OR kind = ?2)', tenant ?? PLATFORM, kind),
  ),

  'conditions.all': aside((sql, { kind }) => listed(sql, '?1 IS NULL OR kind = ?1', kind)),
} satisfies Partial<Operations>
