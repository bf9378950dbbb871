// What accounting asks of the catalog: restore points and images at one moment, what running backups have stored, growth.
import type { CountedPoint } from '../usage.ts'
import { collectionOperations } from './collection.ts'
import { aside, type Operations } from './operation.ts'
import type { Sql } from './sql.ts'

/**
 * Record bytes that backups begun at `sinceMs` or later have newly stored; a rebuilt catalog may lack their jobs but not their
 * points.
 */
const storedSince = (sql: Sql, tenant: number, sinceMs: number): number => {
  const jobs = sql.get<{ bytes: number }>(
    `SELECT coalesce(sum(upload.stored), 0) AS bytes FROM machine JOIN job ON job.machine = machine.id
     JOIN upload ON upload.job = job.id WHERE machine.tenant = ? AND job.started_ms >= ?`,
    tenant,
    sinceMs,
  )!
  const points = sql.get<{ bytes: number }>(
    `SELECT coalesce(sum(bytes_stored), 0) AS bytes FROM point
     WHERE tenant = ? AND committed_ms >= ? AND NOT EXISTS (SELECT 1 FROM job WHERE job.id = point.id)`,
    tenant,
    sinceMs,
  )!
  return jobs.bytes + points.bytes
}

export const usageOperations = {
  'usage.roots': aside((sql, { tenant }) => {
    const counted = sql.all<CountedPoint>(
      `SELECT point.id, machine.name AS machine, time_ms AS timeMs, chunk.stored AS manifestLength
       FROM point JOIN machine ON machine.id = point.machine
       LEFT JOIN chunk ON chunk.tenant = point.tenant AND chunk.id = point.manifest
       WHERE point.tenant = ? ORDER BY time_ms, point.id`,
      tenant,
    )
    const running = sql.get<{ bytes: number }>(
      `SELECT coalesce(sum(upload.stored), 0) AS bytes FROM job JOIN upload ON upload.job = job.id
       WHERE job.tenant = ? AND job.ended_ms IS NULL`,
      tenant,
    )!
    return { ...collectionOperations['collection.roots'].run(sql, { tenant }), counted, uploadBytes: running.bytes }
  }),

  'usage.growth': aside((sql, args) => args.sinceMs.map((sinceMs) => storedSince(sql, args.tenant, sinceMs))),
} satisfies Partial<Operations>
