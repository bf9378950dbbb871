// Which restore points are to be verified, what they are made of, and when they were.
import type { MissingAttachment } from '../../../protocol/attachments.ts'
import type { DiskRoot } from '../points.ts'
import type { LeftOutDisk } from '../../../protocol/backup.ts'
import { hex } from '../../../protocol/chunk.ts'
import { tookIn, type ManifestContent } from '../manifest.ts'
import { read, write, type Operations } from './operation.ts'

export const verificationOperations = {
  'points.toVerify': read((sql, args) =>
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

  'points.roots': read((sql, { tenant, point }) => {
    const row = sql.get<{ id: string; manifest: Uint8Array }>(
      'SELECT id, manifest FROM point WHERE tenant = ? AND id = ?',
      tenant,
      point,
    )
    if (row === undefined) return null
    const images = sql.all<DiskRoot>('SELECT disk, size, root FROM image WHERE point = ? ORDER BY ordinal', point)
    return { ...row, images }
  }),

  'packs.tenantBytes': read(
    (sql, { tenant }) =>
      sql.get<{ bytes: number | null }>('SELECT sum(bytes) AS bytes FROM pack WHERE tenant = ?', tenant)?.bytes ?? 0,
  ),

  'points.manifest': read((sql, { tenant, point }) => {
    const row = sql.get<
      Omit<ManifestContent, 'disks' | 'attachments' | 'job' | 'leftOut' | 'took' | 'missing' | 'checkpoint'> & {
        subject: string
        full: number
        compare: number
        startedMs: number
        leftOut: string
        checkpoint: number
        took: string | null
        missing: string
      }
    >(
      `SELECT point.id AS point, machine.name AS machine, point.agent, point.base, point.time_ms AS timeMs, point.kind, point.reason,
       consistency, note, configuration, bytes_read AS bytesRead, bytes_sent AS bytesSent, bytes_stored AS bytesStored,
       point.seq, duration_ms AS durationMs, took, committed_ms AS committedMs, locked_ms AS lockedUntilMs,
       left_out AS leftOut, point.missing, point.checkpoint, job.subject, job."full", job.compare, job.started_ms AS startedMs
       FROM point JOIN machine ON machine.id = point.machine JOIN job ON job.id = point.id WHERE point.tenant = ? AND point.id = ?`,
      tenant,
      point,
    )
    if (row === undefined) return null
    const { subject, full, compare, startedMs, leftOut, took, missing, checkpoint, ...rest } = row
    const images = sql.all<
      Omit<ManifestContent['disks'][number], 'root'> & { root: Uint8Array | null; attachment: number }
    >(
      `SELECT disk AS name, size, root, kind, reason, changed, evidence, compared AS comparedChunks, attachment
       FROM image WHERE point = ? ORDER BY ordinal`,
      point,
    )
    const disks = images
      .filter(({ attachment }) => attachment === 0)
      .map(({ root, attachment: _, ...image }) => ({ ...image, root: root && hex(root) }))
    const attachments = images
      .filter(({ attachment }) => attachment !== 0)
      .map(({ name, size, root }) => ({ name, size, root: root && hex(root) }))
    const job = { subject, full: full !== 0, compare: compare !== 0, startedMs }
    return {
      ...rest,
      job,
      leftOut: JSON.parse(leftOut) as LeftOutDisk[],
      took: tookIn(took),
      checkpoint: checkpoint !== 0,
      disks,
      attachments,
      missing: JSON.parse(missing) as MissingAttachment[],
    }
  }),

  'points.setManifest': write((sql, args) => {
    sql.run(
      'UPDATE point SET manifest = ? WHERE tenant = ? AND id = ? AND manifest = ?',
      args.manifest,
      args.tenant,
      args.point,
      args.before,
    )
  }),

  'states.records': read(
    (sql, { tenant }) =>
      sql.get<{ ids: Uint8Array | null }>('SELECT state_id AS ids FROM tenant WHERE id = ?', tenant)?.ids ??
      new Uint8Array(0),
  ),

  'states.spoil': write((sql, { tenant }) => {
    sql.run('UPDATE tenant SET state_dirty = 1 WHERE id = ?', tenant)
  }),

  'points.verified': write((sql, args) => {
    for (const point of args.points)
      sql.run('UPDATE point SET verified_ms = ? WHERE tenant = ? AND id = ?', args.nowMs, args.tenant, point)
  }),

  'points.whole': read(
    (sql, { tenant, points }) =>
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
} satisfies Partial<Operations>
