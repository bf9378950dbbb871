// What accounting asks of the catalog: restore points and images at one moment, what running backups have stored, growth.
import { collectionOperations, type CatalogRoots } from './collection.ts'
import { aside } from './operation.ts'
import type { Sql } from './sql.ts'

/** A restore point, and what its manifest takes. */
export interface CountedPoint {
  readonly id: string
  readonly machine: string
  readonly timeMs: number
  /** Stored length of its manifest; null where the index does not have it. */
  readonly manifestLength: number | null
}

/** A tenant at one moment. */
export interface UsageRoots extends CatalogRoots {
  readonly counted: readonly CountedPoint[]
  /** Record bytes that running backups have stored so far. */
  readonly uploadBytes: number
}

/** Record bytes that backups begun at `sinceMs` or later have newly stored; a rebuilt catalog may lack their jobs but not their points. */
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
  'usage.roots': aside((sql: Sql, { tenant }: { tenant: number }): UsageRoots => {
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

  /** One figure for each moment. */
  'usage.growth': aside((sql: Sql, args: { tenant: number; sinceMs: readonly number[] }): number[] =>
    args.sinceMs.map((sinceMs) => storedSince(sql, args.tenant, sinceMs)),
  ),
}
