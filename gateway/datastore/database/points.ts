// Restore points: listing them and finding one by its id or the first characters of it.
import type { Consistency, LeftOutDisk, ReadKind, ReadReason } from '../../../protocol/backup.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { nearest } from '../../../protocol/nearest.ts'
import type { PointCursor } from '../../../protocol/schemas.ts'
import { read } from './operation.ts'
import type { Sql } from './sql.ts'

export interface ImageRow {
  readonly name: string
  readonly size: number
  readonly root: Uint8Array | null
  readonly kind: ReadKind
  readonly reason: ReadReason
  readonly dirtyBytes: number
  readonly comparedChunks: number
}

interface PointRow {
  readonly id: string
  readonly machine: string
  readonly agent: string
  readonly timeMs: number
  readonly kind: ReadKind
  readonly reason: ReadReason
  readonly consistency: Consistency
  readonly note: string | null
  readonly base: string | null
  readonly bytesRead: number
  readonly bytesSent: number
  readonly bytesStored: number
  readonly durationMs: number
  readonly configuration: string
  /** 1 while a person holds it. */
  readonly held: number
  readonly lockedUntilMs: number | null
  readonly verifiedMs: number | null
  /** Bytes of its disks that known damage leaves unreadable. */
  readonly lostBytes: number
}

export interface StoredPoint extends PointRow {
  readonly leftOut: readonly LeftOutDisk[]
  readonly disks: readonly ImageRow[]
}

/** Order of points by their creation, the last one first; times tell it for those of older programs, which have no number. */
export const LAST_CREATED = 'point.seq DESC, point.committed_ms DESC, point.time_ms DESC, point.id DESC'

const POINT = `SELECT point.id, machine.name AS machine, machine.agent AS agent, time_ms AS timeMs, kind, reason, consistency, note, base,
  bytes_read AS bytesRead, bytes_sent AS bytesSent, bytes_stored AS bytesStored, duration_ms AS durationMs, configuration, held, left_out AS leftOut,
  locked_ms AS lockedUntilMs, verified_ms AS verifiedMs,
  (SELECT coalesce(sum(lost.length), 0) FROM lost WHERE lost.point = point.id) AS lostBytes
  FROM point JOIN machine ON machine.id = point.machine`

const withDisks = (sql: Sql, { leftOut, ...point }: PointRow & { readonly leftOut: string }): StoredPoint => ({
  ...point,
  leftOut: JSON.parse(leftOut) as LeftOutDisk[],
  disks: sql.all<ImageRow>(
    `SELECT disk AS name, size, root, kind, reason, changed AS dirtyBytes, compared AS comparedChunks
     FROM image WHERE point = ? ORDER BY ordinal`,
    point.id,
  ),
})

/** Points that are looked through for the one that may be meant, the last ones. */
const LOOKED_AT_MAX = 1000

/** The end of the sentence that there is no such point: the one whose id begins nearly so. */
const meantPoint = (sql: Sql, tenant: number, prefix: string): string => {
  const ids = sql
    .all<{ id: string }>(
      `SELECT id FROM point WHERE tenant = ? ORDER BY ${LAST_CREATED} LIMIT ${LOOKED_AT_MAX}`,
      tenant,
    )
    .map(({ id }) => id)
  const near = nearest(
    prefix,
    ids.map((id) => id.slice(0, prefix.length)),
  )
  return near === null ? '' : `; did you mean ${ids.find((id) => id.startsWith(near))!}?`
}

export const pointOperations = {
  /** Newest first; `agent` narrows to the machines that agent serves now. */
  'point.list': read(
    (
      sql: Sql,
      args: { tenant: number; agent: string | null; machine: string | null; before: PointCursor | null; limit: number },
    ): StoredPoint[] =>
      sql
        .all<PointRow & { readonly leftOut: string }>(
          `${POINT} WHERE point.tenant = ? AND (? IS NULL OR machine.agent = ?) AND (? IS NULL OR machine.name = ?)
           AND (? IS NULL OR (time_ms, point.id) < (?, ?)) ORDER BY time_ms DESC, point.id DESC LIMIT ?`,
          args.tenant,
          args.agent,
          args.agent,
          args.machine,
          args.machine,
          args.before?.timeMs ?? null,
          args.before?.timeMs ?? null,
          args.before?.id ?? null,
          args.limit,
        )
        .map((point) => withDisks(sql, point)),
  ),

  /** The one point whose id begins so; NOT_FOUND or AMBIGUOUS. */
  'point.find': read((sql: Sql, args: { tenant: number; agent: string | null; prefix: string }): StoredPoint => {
    // '~' sorts behind every character of an id
    const found = sql.all<PointRow & { readonly leftOut: string }>(
      `${POINT} WHERE point.id >= ? AND point.id < ? AND point.tenant = ? AND (? IS NULL OR machine.agent = ?) LIMIT 2`,
      args.prefix,
      `${args.prefix}~`,
      args.tenant,
      args.agent,
      args.agent,
    )
    const [point, other] = found
    if (point === undefined)
      throw new VarveError(
        'NOT_FOUND',
        `there is no restore point ${args.prefix}${args.agent === null ? meantPoint(sql, args.tenant, args.prefix) : ''}`,
      )
    if (other !== undefined) throw new VarveError('AMBIGUOUS', `more than one restore point begins with ${args.prefix}`)
    return withDisks(sql, point)
  }),
}
