// The restore point that a backup continues.
import type { BasePoint } from '../reads.ts'
import { LAST_CREATED } from './points.ts'
import type { Sql, SqlValue } from './sql.ts'

/** The agents that hand machines over to one another, this one among them. */
export const agentsBeside = (sql: Sql, agent: string): readonly string[] => [
  agent,
  ...sql
    .all<{ id: string }>(
      `SELECT mate.id FROM agent JOIN agent AS mate ON mate.tenant = agent.tenant AND mate.site = agent.site
       WHERE agent.id = ? AND mate.id <> agent.id`,
      agent,
    )
    .map(({ id }) => id),
]

/** A point as a base, with its disks in its order; null for one that is not there. */
export const basePoint = (sql: Sql, point: string): BasePoint | null => {
  const row = sql.get<{ agent: string; checkpoint: number }>('SELECT agent, checkpoint FROM point WHERE id = ?', point)
  if (row === undefined) return null
  const disks = sql.all<{ name: string; size: number }>(
    'SELECT disk AS name, size FROM image WHERE point = ? AND attachment = 0 ORDER BY ordinal',
    point,
  )
  return { point, agent: row.agent, checkpoint: row.checkpoint !== 0, disks }
}

/**
 * The point that a new backup by this agent continues; null for the machine's first. A checkpoint lives where its agent made it,
 * or where the machine went with the agents beside it; the newest is of the point made last, whatever any clock said. An agent
 * without any may run on another one's host and have its checkpoints. A point without checkpoint is continued only where the
 * machine has no other: it lies between two others, and what was recorded since the one before it leads to the one after it.
 */
export const findBase = (sql: Sql, machine: number, agent: string): BasePoint | null => {
  const newest = (condition: string, ...values: readonly SqlValue[]): string | undefined =>
    sql.get<{ id: string }>(
      `SELECT id FROM point WHERE machine = ? AND ${condition} ORDER BY ${LAST_CREATED} LIMIT 1`,
      machine,
      ...values,
    )?.id
  const beside = JSON.stringify(agentsBeside(sql, agent))
  const base =
    newest('checkpoint = 1 AND agent IN (SELECT value FROM json_each(?))', beside) ??
    newest('checkpoint = 1') ??
    newest('true')
  return base === undefined ? null : basePoint(sql, base)
}
