// The rows of a restore point, its images and its job, as its manifest says them.
import { ATTACHMENT_READ } from '../attachments.ts'
import { rootOf, tookText, type Manifest } from '../manifest.ts'
import type { Sql } from './sql.ts'

/** Where the rows belong, and what a manifest does not say. */
export interface PointPlace {
  /** Row ids. */
  readonly tenant: number
  readonly machine: number
  /** Record id of the manifest. */
  readonly id: Uint8Array
  readonly held: boolean
  readonly lockedUntilMs: number | null
}

const insertPoint = (sql: Sql, manifest: Manifest, place: PointPlace): void => {
  sql.run(
    `INSERT INTO point (id, tenant, machine, agent, time_ms, kind, reason, consistency, note, configuration, base,
     bytes_read, bytes_sent, bytes_stored, duration_ms, committed_ms, manifest, held, locked_ms, left_out, missing, seq, checkpoint, took)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    manifest.point,
    place.tenant,
    place.machine,
    manifest.agent,
    manifest.timeMs,
    manifest.kind,
    manifest.reason,
    manifest.consistency,
    manifest.note,
    manifest.configuration,
    manifest.base,
    manifest.bytesRead,
    manifest.bytesSent,
    manifest.bytesStored,
    manifest.durationMs,
    manifest.committedMs,
    place.id,
    place.held ? 1 : 0,
    place.lockedUntilMs,
    JSON.stringify(manifest.leftOut),
    JSON.stringify(manifest.missing),
    manifest.seq,
    manifest.checkpoint ? 1 : 0,
    tookText(manifest.took),
  )
}

/** The job that made the point: an agent that comes back asks what became of it. */
const insertJob = (sql: Sql, manifest: Manifest, { tenant, machine }: PointPlace): void => {
  const { timeMs, consistency, note, configuration, leftOut, missing, checkpoint } = manifest
  sql.run(
    `INSERT INTO job (id, tenant, machine, agent, subject, state, "full", compare, base, seq, started_ms, ended_ms, released, begun)
     VALUES (?, ?, ?, ?, ?, 'committed', ?, ?, ?, ?, ?, ?, 1, ?)`,
    manifest.point,
    tenant,
    machine,
    manifest.agent,
    manifest.job.subject,
    manifest.job.full ? 1 : 0,
    manifest.job.compare ? 1 : 0,
    manifest.base,
    manifest.seq,
    manifest.job.startedMs,
    manifest.committedMs,
    JSON.stringify({ timeMs, consistency, note, configuration, leftOut, missing, checkpoint }),
  )
}

/** Adds all rows of a manifest's restore point; there must be none of it. */
export const insertManifest = (sql: Sql, manifest: Manifest, place: PointPlace): void => {
  insertPoint(sql, manifest, place)
  insertJob(sql, manifest, place)
  const { disks, attachments } = manifest
  for (const [ordinal, disk] of disks.entries())
    sql.run(
      `INSERT INTO image (point, disk, ordinal, attachment, size, root, kind, reason, evidence, changed, compared)
       VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?)`,
      manifest.point,
      disk.name,
      ordinal,
      disk.size,
      rootOf(disk.root),
      disk.kind,
      disk.reason,
      disk.evidence,
      disk.changed,
      disk.comparedChunks,
    )
  const { kind, reason } = ATTACHMENT_READ
  for (const [index, { name, size, root }] of attachments.entries())
    sql.run(
      `INSERT INTO image (point, disk, ordinal, attachment, size, root, kind, reason, changed, compared)
       VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, 0)`,
      manifest.point,
      name,
      disks.length + index,
      size,
      rootOf(root),
      kind,
      reason,
      size,
    )
}
