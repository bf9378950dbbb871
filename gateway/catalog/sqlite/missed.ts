// Disks of restore points whose bitmaps have missed changes: noted as soon as that is found, and never continued again.
//
// A comparison draws a few chunks, so what one has found the next one may not find. It is noted before the agent is told, beside
// the point that the bitmap begins at: no matter what becomes of the backup, its lease, its agent and that one's state folder.
import { VarveError } from '../../../protocol/errors.ts'
import type { BeginDisk } from '../reads.ts'
import type { OwnJob } from './job-rows.ts'
import type { Sql } from './sql.ts'

/** Notes it for a disk of a point; nothing where the point has no such disk any more. */
export const addMissed = (sql: Sql, point: string | null, disk: string): void => {
  sql.run(
    `INSERT OR IGNORE INTO missed (tenant, point, disk) SELECT point.tenant, point.id, image.disk
     FROM point JOIN image ON image.point = point.id WHERE point.id = ? AND image.disk = ? AND image.attachment = 0`,
    point,
    disk,
  )
}

/** Names of a point's disks whose bitmaps have missed changes. */
export const missedOf = (sql: Sql, point: string | null): ReadonlySet<string> =>
  new Set(
    sql
      .all<{ disk: string }>(
        `SELECT missed.disk FROM point JOIN missed ON missed.tenant = point.tenant
     AND missed.point = point.id WHERE point.id = ?`,
        point,
      )
      .map(({ disk }) => disk),
  )

/** UPLOAD_INVALID for an increment by such a bitmap: an agent that was killed before it heard of it, or does not know of it. */
export const refuseMissed = (sql: Sql, { base }: OwnJob, disks: readonly BeginDisk[]): void => {
  const missed = missedOf(sql, base)
  const wrong = disks.find((disk) => disk.base !== null && missed.has(disk.base))
  if (wrong === undefined) return
  const sentence = `disk ${wrong.name} is read by a bitmap that a comparison has found to miss changes since restore point ${base ?? ''}: the next backup reads it in full`
  throw new VarveError('UPLOAD_INVALID', sentence, { details: { disk: wrong.name } })
}

/** Forgets what is noted of a point that is removed. */
export const forgetMissed = (sql: Sql, tenant: number, point: string): void => {
  sql.run('DELETE FROM missed WHERE tenant = ? AND point = ?', tenant, point)
}
