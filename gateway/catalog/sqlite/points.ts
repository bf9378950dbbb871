// Restore points: listing them and finding one by its id or the first characters of it.
import type { MissingAttachment } from '../../../protocol/attachments.ts'
import type { ImageRow, ListedPoint, PointPage, PointRow, PointsAsked, StoredPoint } from '../points.ts'
import type { LeftOutDisk } from '../../../protocol/backup.ts'
import { tookIn } from '../manifest.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { PointDrill } from '../../../protocol/schemas.ts'
import { nearest } from '../../../protocol/nearest.ts'
import { PAGE_DISKS_MAX } from '../../../protocol/limits.ts'
import { NEWEST_DRILL } from './drills.ts'
import { aside, read, type Operations } from './operation.ts'
import type { Sql, SqlValue } from './sql.ts'
import type { Rowed } from './tenant-row.ts'
import { USED_UNTIL } from './uses.ts'

/** Order of points by their creation, the last one first. */
export const LAST_CREATED = 'point.seq DESC'

const POINT_COLUMNS = `point.id, machine.name AS machine, machine.agent AS agent, time_ms AS timeMs, kind, reason, consistency, note, base,
  bytes_read AS bytesRead, bytes_sent AS bytesSent, bytes_stored AS bytesStored, duration_ms AS durationMs, took, held, left_out AS leftOut,
  locked_ms AS lockedUntilMs, verified_ms AS verifiedMs,
  (SELECT coalesce(sum(lost.length), 0) FROM lost WHERE lost.point = point.id) AS lostBytes,
  json_array_length(point.missing) AS missingAttachments, ${NEWEST_DRILL} AS drill, ${USED_UNTIL}`

type Raw<P extends PointRow> = Omit<P, 'held' | 'leftOut' | 'took' | 'drill' | 'disks' | 'attachments' | 'missing'> & {
  readonly held: number
  readonly took: string | null
  readonly drill: string | null
  readonly leftOut: string
}

/** An image of a point: of a disk or, where it is marked, an attachment. */
type FoundImage = ImageRow & { readonly attachment: number }

const listed = <P extends ListedPoint>(
  { held, leftOut, took, drill, ...point }: Raw<P>,
  images: readonly FoundImage[],
): P => {
  const disks = images.filter(({ attachment }) => attachment === 0).map(({ attachment: _, ...disk }) => disk)
  const attachments = images
    .filter(({ attachment }) => attachment !== 0)
    .map(({ name, size, root }) => ({ name, size, root }))
  const told = {
    leftOut: JSON.parse(leftOut) as LeftOutDisk[],
    took: tookIn(took),
    drill: drill === null ? null : (JSON.parse(drill) as PointDrill),
  }
  const whole = { ...point, held: held !== 0, ...told, disks, attachments }
  return whole as unknown as P
}

/** Images of the points of one page, in the order of the page and of their machines; more of them than PAGE_DISKS_MAX are cut. */
export const PAGE_DISKS = `SELECT image.point, disk AS name, size, image.root, kind, reason, changed AS changedBytes,
  compared AS comparedChunks, attachment
  FROM json_each(?) AS page CROSS JOIN image ON image.point = page.value ORDER BY page.key, image.ordinal LIMIT ?`

const imagesOf = (sql: Sql, points: readonly string[], limit: number): Map<string, FoundImage[]> => {
  const found = new Map<string, FoundImage[]>(points.map((id) => [id, []]))
  const rows = sql.all<FoundImage & { readonly point: string }>(PAGE_DISKS, JSON.stringify(points), limit)
  for (const { point, ...image } of rows) found.get(point)?.push(image)
  return found
}

/**
 * The statement for a page of points, newest first, with its values: each variant follows an index in the order of the page, so
 * its cost depends on the page and not on the tenant (for an agent's machines: a page for each).
 */
export const pageStatement = ({
  tenant,
  agent,
  machine,
  before,
  limit,
}: Rowed<PointsAsked>): [string, ...SqlValue[]] => {
  const cursor = before === null ? '' : 'AND (point.time_ms, point.id) < (?, ?)'
  const from = before === null ? [] : [before.timeMs, before.id]
  const order = 'ORDER BY point.time_ms DESC, point.id DESC LIMIT ?'
  const select = `SELECT ${POINT_COLUMNS} FROM`
  if (machine !== null) {
    const own = agent === null ? '' : 'AND machine.agent = ?'
    const text = `${select} machine CROSS JOIN point INDEXED BY point_machine ON point.machine = machine.id ${cursor}
      WHERE machine.tenant = ? AND machine.name = ? ${own} ${order}`
    return [text, ...from, tenant, machine, ...(agent === null ? [] : [agent]), limit]
  }
  if (agent === null) {
    const text = `${select} point INDEXED BY point_tenant CROSS JOIN machine ON machine.id = point.machine
      WHERE point.tenant = ? ${cursor} ${order}`
    return [text, tenant, ...from, limit]
  }
  const newest = `SELECT point.id FROM point INDEXED BY point_machine WHERE point.machine = machine.id ${cursor} ${order}`
  const text = `${select} machine INDEXED BY machine_agent CROSS JOIN point ON point.id IN (${newest})
    WHERE machine.tenant = ? AND machine.agent = ? ${order}`
  return [text, ...from, limit, tenant, agent, limit]
}

const pageOf = (sql: Sql, asked: Rowed<PointsAsked>): PointPage => {
  const [text, ...values] = pageStatement({ ...asked, limit: asked.limit + 1 })
  const rows = sql.all<Raw<ListedPoint>>(text, ...values)
  const wanted = rows.slice(0, asked.limit)
  const ids = wanted.map(({ id }) => id)
  const images = imagesOf(sql, ids, PAGE_DISKS_MAX + 1)
  const points: ListedPoint[] = []
  let count = 0
  for (const row of wanted) {
    const own = images.get(row.id)!
    count += own.length
    // its images may be cut
    if (count > PAGE_DISKS_MAX) break
    points.push(listed<ListedPoint>(row, own))
  }
  return { points, more: rows.length > points.length }
}

/** How many of the newest points are searched for the one that may be meant. */
const LOOKED_AT_MAX = 1000

/** The end of the "no such point" message: the point whose id begins almost the same. */
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

/** At most two rows, which is enough to see whether the prefix is ambiguous. */
export const FIND_POINT = `SELECT ${POINT_COLUMNS}, configuration, point.missing FROM point JOIN machine ON machine.id = point.machine
  WHERE point.id >= ? AND point.id < ? AND +point.tenant = ?`

/** The one point whose id begins so; NOT_FOUND or AMBIGUOUS. */
const findPoint = (sql: Sql, args: { tenant: number; agent: string | null; prefix: string }): StoredPoint => {
  const { tenant, agent, prefix } = args
  const own = agent === null ? [] : [agent]
  const [found, other] = sql.all<Raw<StoredPoint> & { readonly missing: string }>(
    `${FIND_POINT} ${agent === null ? '' : 'AND machine.agent = ?'} LIMIT 2`,
    prefix,
    // '~' sorts behind every character of an id
    `${prefix}~`,
    tenant,
    ...own,
  )
  if (found === undefined)
    throw new VarveError(
      'NOT_FOUND',
      `there is no restore point ${prefix}${agent === null ? meantPoint(sql, tenant, prefix) : ''}`,
    )
  if (other !== undefined) throw new VarveError('AMBIGUOUS', `more than one restore point begins with ${prefix}`)
  const { missing, ...point } = found
  const known = listed<Omit<StoredPoint, 'missing'>>(point, imagesOf(sql, [point.id], -1).get(point.id)!)
  return { ...known, missing: JSON.parse(missing) as MissingAttachment[] }
}

export const pointOperations = {
  'points.list': aside(pageOf),

  'points.find': read(findPoint),

  'points.show': aside(findPoint),
} satisfies Partial<Operations>
