// Which restore points are to be verified, what they are made of, and when they were.
import type { LeftOutDisk } from '../../../protocol/backup.ts'
import { hex } from '../../../protocol/chunk.ts'
import type { ManifestContent } from '../manifest.ts'
import { read, write } from './operation.ts'
import type { Sql } from './sql.ts'

/** One disk of a restore point. */
export interface DiskRoot {
  readonly disk: string
  readonly size: number
  readonly root: Uint8Array | null
}

/** A restore point as its records are found from. */
export interface PointRoots {
  readonly id: string
  readonly manifest: Uint8Array
  readonly images: readonly DiskRoot[]
}

export const verificationOperations = {
  /**
   * Ids of the restore points of a tenant, or some of them, that were not verified since; those never verified first, then the oldest look.
   * A look that is later than now was dated by a clock that was ahead: nobody knows how old it is, so it counts as none.
   */
  'points.toVerify': read(
    (
      sql: Sql,
      args: {
        tenant: number
        point: string | null
        machine: string | null
        age: { beforeMs: number; nowMs: number } | null
      },
    ): string[] =>
      sql
        .all<{ id: string }>(
          `SELECT point.id FROM point JOIN machine ON machine.id = point.machine
           WHERE point.tenant = ? AND (? IS NULL OR point.id = ?) AND (? IS NULL OR machine.name = ?)
           AND (? IS NULL OR verified_ms IS NULL OR verified_ms < ? OR verified_ms > ?)
           ORDER BY verified_ms NULLS FIRST, time_ms DESC, point.id`,
          args.tenant,
          args.point,
          args.point,
          args.machine,
          args.machine,
          args.age?.beforeMs ?? null,
          args.age?.beforeMs ?? null,
          args.age?.nowMs ?? null,
        )
        .map(({ id }) => id),
  ),

  /** Where the trees of a restore point begin; null when it is not there. */
  'points.roots': read((sql: Sql, { tenant, point }: { tenant: number; point: string }): PointRoots | null => {
    const row = sql.get<{ id: string; manifest: Uint8Array }>(
      'SELECT id, manifest FROM point WHERE tenant = ? AND id = ?',
      tenant,
      point,
    )
    if (row === undefined) return null
    const images = sql.all<DiskRoot>('SELECT disk, size, root FROM image WHERE point = ? ORDER BY ordinal', point)
    return { ...row, images }
  }),

  /** Bytes of the tenant's packs. */
  'packs.tenantBytes': read(
    (sql: Sql, { tenant }: { tenant: number }): number =>
      sql.get<{ bytes: number | null }>('SELECT sum(bytes) AS bytes FROM pack WHERE tenant = ?', tenant)?.bytes ?? 0,
  ),

  /** What the manifest of a restore point says, from the catalog; null when the point is not there. */
  'points.manifest': read((sql: Sql, { tenant, point }: { tenant: number; point: string }): ManifestContent | null => {
    const row = sql.get<
      Omit<ManifestContent, 'disks' | 'job' | 'leftOut'> & {
        subject: string
        full: number
        compare: number
        startedMs: number
        leftOut: string
      }
    >(
      `SELECT point.id AS point, machine.name AS machine, point.agent, point.base, point.time_ms AS timeMs, point.kind, point.reason,
       consistency, note, configuration, bytes_read AS bytesRead, bytes_sent AS bytesSent, bytes_stored AS bytesStored,
       point.seq, duration_ms AS durationMs, committed_ms AS committedMs, locked_ms AS lockedUntilMs,
       left_out AS leftOut, job.subject, job."full", job.compare, job.started_ms AS startedMs
       FROM point JOIN machine ON machine.id = point.machine JOIN job ON job.id = point.id WHERE point.tenant = ? AND point.id = ?`,
      tenant,
      point,
    )
    if (row === undefined) return null
    const { subject, full, compare, startedMs, leftOut, ...rest } = row
    const images = sql.all<Omit<ManifestContent['disks'][number], 'root'> & { root: Uint8Array | null }>(
      `SELECT disk AS name, size, root, kind, reason, changed, evidence, compared AS comparedChunks
       FROM image WHERE point = ? ORDER BY ordinal`,
      point,
    )
    const disks = images.map(({ root, ...image }) => ({ ...image, root: root && hex(root) }))
    const job = { subject, full: full !== 0, compare: compare !== 0, startedMs }
    return { ...rest, job, leftOut: JSON.parse(leftOut) as LeftOutDisk[], disks }
  }),

  /** Names another manifest for a restore point in place of one that was damaged. */
  'points.setManifest': write(
    (sql: Sql, args: { tenant: number; point: string; before: Uint8Array; manifest: Uint8Array }): void => {
      sql.run(
        'UPDATE point SET manifest = ? WHERE tenant = ? AND id = ? AND manifest = ?',
        args.manifest,
        args.tenant,
        args.point,
        args.before,
      )
    },
  ),

  /** Ids of the records that hold the tenant's state as it was written last, packed; empty before the first. */
  'states.records': read(
    (sql: Sql, { tenant }: { tenant: number }): Uint8Array =>
      sql.get<{ ids: Uint8Array | null }>('SELECT state_id AS ids FROM tenant WHERE id = ?', tenant)?.ids ??
      new Uint8Array(0),
  ),

  /** Has the tenant's state written anew. */
  'states.spoil': write((sql: Sql, { tenant }: { tenant: number }): void => {
    sql.run('UPDATE tenant SET state_dirty = 1 WHERE id = ?', tenant)
  }),

  'points.verified': write((sql: Sql, args: { tenant: number; points: readonly string[]; nowMs: number }): void => {
    for (const point of args.points)
      sql.run('UPDATE point SET verified_ms = ? WHERE tenant = ? AND id = ?', args.nowMs, args.tenant, point)
  }),

  /** How many of these restore points have no known damage; ones that are not there count as whole. */
  'points.whole': read(
    (sql: Sql, { tenant, points }: { tenant: number; points: readonly string[] }): number =>
      points.filter(
        (point) =>
          sql.get('SELECT 1 FROM lost WHERE point = ? LIMIT 1', point) === undefined &&
          sql.get(
            `SELECT 1 FROM point JOIN damage ON damage.tenant = point.tenant AND damage.id = point.manifest
             WHERE point.id = ? AND point.tenant = ?`,
            point,
            tenant,
          ) === undefined,
      ).length,
  ),
}
