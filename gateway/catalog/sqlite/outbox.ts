// The outbox of notifications: messages that wait, were sent, or could not be sent.
import type { Message, Notice } from '../../../protocol/notify.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { NOTICE_WAIT_MAX_MS, NOTICES_KEPT_MAX, NOTICES_KEPT_MS, type DueNotice, type NewNotice } from '../notices.ts'
import { aside, read, write, type Operations } from './operation.ts'
import type { Sql } from './sql.ts'

const HOUR_MS = 3_600_000

/** Of a message that waits: whether it is due at the instant that is the first parameter. */
const DUE = `state = 'waiting' AND (next_ms <= ?1 OR next_ms > ?1 + ${NOTICE_WAIT_MAX_MS})`

const unknown = (id: string): VarveError =>
  new VarveError('NOT_FOUND', `there is no message ${id}; varve-gateway notify outbox shows those there are`)

export const insertNotice = (sql: Sql, tenant: number, { id, target, message }: NewNotice, nowMs: number): void => {
  sql.run(
    `INSERT INTO notice (id, tenant, target, kind, message, state, next_ms, made_ms) VALUES (?, ?, ?, ?, ?, 'waiting', ?, ?)`,
    id,
    tenant,
    target,
    message.kind,
    JSON.stringify(message),
    nowMs,
    nowMs,
  )
}

interface OutboxRow extends Omit<Notice, 'subject' | 'severity'> {
  readonly message: string
}

const shown = ({ message, ...row }: OutboxRow): Notice => {
  const { subject, severity } = JSON.parse(message) as Message
  return { ...row, subject, severity }
}

interface DueRow extends Omit<DueNotice, 'message' | 'to'> {
  readonly message: string
  readonly settings: string
  readonly secret: Uint8Array | null
}

const due = ({ message, settings, secret, ...row }: DueRow): DueNotice => ({
  ...row,
  message: JSON.parse(message) as Message,
  to: { name: row.target, settings: JSON.parse(settings) as DueNotice['to']['settings'], secret },
})

const trim = (sql: Sql, nowMs: number): number => {
  // what made the last hour's messages counts for the hourly bound
  const old = sql.run(`DELETE FROM notice WHERE state <> 'waiting' AND made_ms < ?`, nowMs - NOTICES_KEPT_MS)
  const much = sql.run(
    `DELETE FROM notice WHERE state <> 'waiting' AND made_ms < ? AND id IN (
       SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY tenant ORDER BY made_ms DESC, id DESC) AS place FROM notice)
       WHERE place > ?)`,
    nowMs - HOUR_MS,
    NOTICES_KEPT_MAX,
  )
  return old + much + sql.run('DELETE FROM notice_mute WHERE until_ms <= ?', nowMs)
}

export const outboxOperations = {
  'notices.nextDue': read(
    (sql) =>
      sql.get<{ dueMs: number | null }>(
        `SELECT min(ms) AS dueMs FROM (
           SELECT min(due_ms) AS ms FROM notice_item WHERE due_ms IS NOT NULL
           UNION ALL SELECT min(next_ms) FROM notice WHERE state = 'waiting')`,
      )!.dueMs,
  ),

  // one of each target, and those of the tenants by turns: who has much waiting delays nobody else
  'notices.due': read((sql, { nowMs, limit }) =>
    sql
      .all<DueRow>(
        `SELECT open.id, tenant.uuid AS tenant, open.target, message, attempts, made_ms AS madeMs, settings, secret FROM (
           SELECT *, row_number() OVER (PARTITION BY tenant ORDER BY next_ms, id) AS turn FROM (
             SELECT *, row_number() OVER (PARTITION BY tenant, target ORDER BY made_ms, id) AS place FROM notice
             WHERE ${DUE})
           WHERE place = 1) AS open
         JOIN notice_target ON notice_target.tenant = open.tenant AND notice_target.name = open.target
         LEFT JOIN tenant ON tenant.id = open.tenant ORDER BY turn, next_ms, open.id LIMIT ?2`,
        nowMs,
        limit,
      )
      .map(due),
  ),

  'notices.claim': write(
    (sql, { id, nowMs, untilMs }) =>
      sql.run(
        `UPDATE notice SET next_ms = ?2, attempts = attempts + 1 WHERE id = ?3 AND ${DUE}`,
        nowMs,
        untilMs,
        id,
      ) === 1,
  ),

  'notices.settle': write((sql, { id, state, error, nextMs, nowMs }) => {
    const endedMs = state === 'waiting' ? null : nowMs
    sql.run(
      `UPDATE notice SET state = ?, error = ?, next_ms = ?, ended_ms = ? WHERE id = ? AND state = 'waiting'`,
      state,
      error,
      nextMs,
      endedMs,
      id,
    )
  }),

  'notices.outbox': aside((sql, { tenant, state, before, limit }) =>
    sql
      .all<OutboxRow>(
        `SELECT id, target, message, state, attempts, made_ms AS madeMs, next_ms AS nextMs, ended_ms AS endedMs, error
         FROM notice WHERE tenant = ?1 AND (?2 IS NULL OR state = ?2) AND (made_ms, id) < (?3, ?4)
         ORDER BY made_ms DESC, id DESC LIMIT ?5`,
        tenant ?? 0,
        state,
        before?.madeMs ?? Number.MAX_SAFE_INTEGER,
        before?.id ?? '',
        limit,
      )
      .map(shown),
  ),

  'notices.post': write((sql, { tenant, notice, nowMs }) => {
    const target = 'SELECT 1 FROM notice_target WHERE tenant = ? AND name = ?'
    if (sql.get(target, tenant ?? 0, notice.target) === undefined)
      throw new VarveError('NOT_FOUND', `there is no target "${notice.target}"`)
    insertNotice(sql, tenant ?? 0, notice, nowMs)
  }),

  'notices.retry': write((sql, { tenant, id, nowMs }) => {
    const found = sql.get<{ state: string; target: string }>(
      'SELECT state, target FROM notice WHERE tenant = ? AND id = ?',
      tenant ?? 0,
      id,
    )
    if (found === undefined) throw unknown(id)
    const there = 'SELECT 1 FROM notice_target WHERE tenant = ? AND name = ?'
    if (sql.get(there, tenant ?? 0, found.target) === undefined)
      throw new VarveError('NOT_FOUND', `its target "${found.target}" was removed`)
    if (found.state === 'sent') throw new VarveError('PARAMS_INVALID', 'the message was sent already')
    // its 24 hours begin anew, and so do its attempts
    sql.run(
      `UPDATE notice SET state = 'waiting', attempts = 0, next_ms = ?1, made_ms = ?1, ended_ms = NULL WHERE id = ?2`,
      nowMs,
      id,
    )
  }),

  'notices.drop': write((sql, { tenant, id }) => {
    if (sql.run('DELETE FROM notice WHERE tenant = ? AND id = ?', tenant ?? 0, id) === 0) throw unknown(id)
  }),

  'notices.trim': write((sql, { nowMs }) => trim(sql, nowMs)),
} satisfies Partial<Operations>
