// Restores that were ordered from agents: begun and ended in one transaction each, with what is told of them.
import { VarveError } from '../../../protocol/errors.ts'
import { sizeText } from '../../../protocol/host/size.ts'
import { RESTORES_RUNNING_MAX } from '../../../protocol/limits.ts'
import type { JobFailure } from '../jobs.ts'
import {
  RESTORES_KEPT_MAX,
  type NewRestore,
  type RestoreEnd,
  type RestoreRow,
  type RestoresAsked,
} from '../restores.ts'
import { happened } from './events.ts'
import { aside, write, type Operations } from './operation.ts'
import type { Sql, SqlValue } from './sql.ts'
import type { Rowed } from './tenant-row.ts'

/** Characters of the disks of one page; it has one row at least. */
const PAGE_CHARS_MAX = 1024 * 1024

const RESTORE = `SELECT restore.id, restore.point, restore.machine, restore.time_ms AS timeMs, restore.agent, agent.host,
  restore.subject AS "by", restore.overwrite, restore.state, restore.started_ms AS startedMs, restore.ended_ms AS endedMs,
  restore.error, restore.disks FROM restore JOIN agent ON agent.id = restore.agent`

interface Found extends Omit<RestoreRow, 'overwrite' | 'error' | 'disks'> {
  readonly overwrite: number
  readonly error: string | null
  readonly disks: string
}

/** Those of earlier versions say nothing of how. */
const BEFORE = { how: 'new', differBytes: null, writtenBytes: 0 } as const

const disksOf = (text: string): RestoreRow['disks'] =>
  (JSON.parse(text) as RestoreRow['disks']).map((disk) => ({ ...BEFORE, ...disk }))

const restoreRow = ({ overwrite, error, disks, ...found }: Found): RestoreRow => ({
  ...found,
  overwrite: overwrite !== 0,
  error: error === null ? null : (JSON.parse(error) as JobFailure),
  disks: disksOf(disks),
})

const start = (sql: Sql, restore: Rowed<NewRestore>): void => {
  const { id, tenant, point, agent, subject, overwrite, disks, nowMs } = restore
  const { count } = sql.get<{ count: number }>(
    'SELECT count(*) AS count FROM restore WHERE tenant = ? AND ended_ms IS NULL',
    tenant,
  )!
  if (count >= RESTORES_RUNNING_MAX)
    throw new VarveError('LIMIT_REACHED', `${count} restores of this tenant run already: start it when one has ended`)
  const added = sql.run(
    `INSERT INTO restore (id, tenant, point, machine, time_ms, agent, subject, overwrite, state, started_ms, disks)
     SELECT ?, point.tenant, point.id, machine.name, point.time_ms, agent.id, ?, ?, 'running', ?, ?
     FROM point JOIN machine ON machine.id = point.machine JOIN agent ON agent.tenant = point.tenant
     WHERE point.id = ? AND point.tenant = ? AND agent.id = ?`,
    id,
    subject,
    overwrite ? 1 : 0,
    nowMs,
    JSON.stringify(disks),
    point,
    tenant,
    agent,
  )
  // it was removed meanwhile
  if (added === 0) throw new VarveError('NOT_FOUND', `there is no restore point ${point}`)
  sql.run(
    `DELETE FROM restore WHERE tenant = ? AND ended_ms IS NOT NULL AND (started_ms, id) <=
     (SELECT started_ms, id FROM restore WHERE tenant = ? ORDER BY started_ms DESC, id DESC LIMIT 1 OFFSET ${RESTORES_KEPT_MAX})`,
    tenant,
    tenant,
  )
}

const tell = (sql: Sql, id: string, nowMs: number): void => {
  const { tenant } = sql.get<{ tenant: number }>('SELECT tenant FROM restore WHERE id = ?', id)!
  const { point, machine, timeMs, agent, host, by, error, startedMs, disks } = restoreRow(
    sql.get<Found & object>(`${RESTORE} WHERE restore.id = ?`, id)!,
  )
  const names = disks.map(({ disk }) => disk).join(', ')
  const how = disks[0]?.how ?? 'new'
  // it changes nothing, whatever it finds
  if (how === 'compare') return
  const what = `the restore of ${names} of ${machine} as of ${new Date(timeMs).toISOString()} to ${host}`
  const data = {
    restore: id,
    point,
    agent,
    host,
    subject: by,
    disks: names,
    durationMs: Math.max(0, nowMs - startedMs),
  }
  if (error === null) {
    const bytes = disks.reduce((sum, { size, writtenBytes }) => sum + (how === 'new' ? size : writtenBytes), 0)
    const text = `${what} is done: ${sizeText(bytes)} ${how === 'new' ? 'written' : 'that differed were written'}`
    return happened(sql, tenant, { timeMs: nowMs, kind: 'restore.done', severity: 'info', machine, text, data })
  }
  const { code, message } = error
  const severity = code === 'CANCELLED' ? 'warning' : 'error'
  const text = `${what} failed: ${message} (${code})`
  happened(sql, tenant, { timeMs: nowMs, kind: 'restore.failed', severity, machine, text, data: { ...data, code } })
}

const end = (sql: Sql, { id, error, disks, nowMs }: RestoreEnd): boolean => {
  const ended = sql.run(
    "UPDATE restore SET state = ?, ended_ms = ?, error = ?, disks = ? WHERE id = ? AND state = 'running'",
    error === null ? 'done' : 'failed',
    nowMs,
    error === null ? null : JSON.stringify(error),
    JSON.stringify(disks),
    id,
  )
  if (ended > 0) tell(sql, id, nowMs)
  return ended > 0
}

/** The failure of one that ran when the gateway was killed. */
const abandoned = (disks: RestoreRow['disks']): JobFailure => {
  const stopped = 'the gateway stopped while it ran'
  const left = disks.some(({ how }) => how === 'onto')
    ? '; if it had begun to write, a file has ".varve-incomplete" behind its name, and a device is incomplete: the same restore completes it'
    : ', and the agent has removed what was not complete: look at the host for disks that were, and restore the others again'
  return { code: 'GOING_AWAY', message: `${stopped}${left}` }
}

const list = (sql: Sql, { tenant, machine, state, after, limit }: Rowed<RestoresAsked>) => {
  const where = ['restore.tenant = ?']
  const values: SqlValue[] = [tenant]
  const only = (condition: string, ...of: SqlValue[]): void => {
    where.push(condition)
    values.push(...of)
  }
  if (machine !== null) only('restore.machine = ?', machine)
  if (state !== null) only('restore.state = ?', state)
  if (after !== null) only('(restore.started_ms, restore.id) < (?, ?)', after.startedMs, after.id)
  const text = `${RESTORE} WHERE ${where.join(' AND ')} ORDER BY restore.started_ms DESC, restore.id DESC LIMIT ?`
  const restores: RestoreRow[] = []
  let chars = 0
  for (const row of sql.each<Found>(text, ...values, limit + 1)) {
    chars += row.disks.length
    if (restores.length === limit || (chars > PAGE_CHARS_MAX && restores.length > 0)) return { restores, more: true }
    restores.push(restoreRow(row))
  }
  return { restores, more: false }
}

export const restoreOperations = {
  'restores.start': write(start),

  'restores.end': write(end),

  'restores.withdraw': write(
    (sql, { id }) => void sql.run("DELETE FROM restore WHERE id = ? AND state = 'running'", id),
  ),

  'restores.abandon': write((sql, { nowMs }) => {
    const open = sql.all<{ id: string; disks: string }>("SELECT id, disks FROM restore WHERE state = 'running'")
    for (const { id, disks: text } of open) {
      const disks = disksOf(text)
      end(sql, { id, error: abandoned(disks), disks, nowMs })
    }
    return open.length
  }),

  'restores.get': aside((sql, { tenant, id }) => {
    const found = sql.get<Found & object>(`${RESTORE} WHERE restore.id = ? AND restore.tenant = ?`, id, tenant)
    return found === undefined ? null : restoreRow(found)
  }),

  'restores.list': aside(list),
} satisfies Partial<Operations>
