// Damage: records that were found bad or missing, and the ranges of restore points that are lost with them.
import type { DamagedPlace, LostPlace, RereadDisk } from '../damage.ts'
import { ID_BYTES } from '../../../protocol/chunk.ts'
import { REREAD_RANGES_MAX } from '../../../protocol/limits.ts'
import type { LostRange } from '../../../protocol/maintenance.ts'
import { RECORD_TYPE_NAMES, type Damage } from '../../packs/damage.ts'
import { idAt } from '../../../protocol/host/bytes.ts'
import { RECORD, type RecordType } from '../../packs/format.ts'
import { missedOf } from './missed.ts'
import { aside, read, write, type Operations } from './operation.ts'
import type { Sql } from './sql.ts'

/** Neighbouring rows as one range each; rows of one disk never overlap. `points` says which points, by ids of the tenant's. */
const ranges = (points: string): string => `SELECT point, disk, min(offset) AS offset, sum(length) AS length FROM (
    SELECT point, disk, offset, length,
      offset - (sum(length) OVER (PARTITION BY point, disk ORDER BY offset) - length) AS island
    FROM lost WHERE point IN (SELECT id FROM point WHERE tenant = ? AND ${points}) AND (? IS NULL OR disk = ?)
  ) GROUP BY point, disk, island`

const RANGES_OF_ALL = ranges('? IS NULL')
const RANGES_OF_ONE = ranges('id = ?')

const idCount = (ids: Uint8Array): number => Math.floor(ids.length / ID_BYTES)

/** Removes the record from the index if the index still has what was read when the damage was found; true if it did. */
const letGo = (sql: Sql, tenant: number, { id, place }: Damage): boolean => {
  if (place === null)
    return (
      sql.get('SELECT 1 FROM chunk WHERE tenant = ? AND id = ?', tenant, id) === undefined &&
      sql.get('SELECT 1 FROM damage WHERE tenant = ? AND id = ?', tenant, id) === undefined
    )
  const rows = sql.run(
    'DELETE FROM chunk WHERE tenant = ? AND id = ? AND offset = ? AND pack = (SELECT id FROM pack WHERE uuid = ?)',
    tenant,
    id,
    place.offset,
    place.pack,
  )
  return rows > 0
}

/** To be called with every record added to the index: ranges that were lost with it are readable again. */
export const heal = (sql: Sql, tenant: number, ids: readonly Uint8Array[]): void => {
  if (ids.length === 0 || sql.get('SELECT 1 FROM damage WHERE tenant = ? LIMIT 1', tenant) === undefined) return
  for (const id of ids) {
    const damage = sql.get<{ type: number }>(
      'DELETE FROM damage WHERE tenant = ? AND id = ? RETURNING type',
      tenant,
      id,
    )
    if (damage === undefined) continue
    // these points have not been verified since they became whole again
    sql.run(
      `UPDATE point SET verified_ms = NULL
       WHERE tenant = ? AND (id IN (SELECT lost.point FROM lost WHERE lost.id = ?) OR (? AND manifest = ?))`,
      tenant,
      id,
      damage.type === RECORD.manifest ? 1 : 0,
      id,
    )
    sql.run('DELETE FROM lost WHERE id = ? AND point IN (SELECT id FROM point WHERE tenant = ?)', id, tenant)
  }
}

/** Lost ranges, neighbours joined, of one restore point or all, of one disk or all; with their number and bytes altogether. */
const lostRanges = (
  sql: Sql,
  args: { tenant: number; point: string | null; disk: string | null; after?: LostPlace | null; limit: number },
): { lost: LostRange[]; lostCount: number; lostBytes: number } => {
  const { tenant, point, disk, after = null } = args
  const scope = [tenant, point, disk, disk] as const
  const found = point === null ? RANGES_OF_ALL : RANGES_OF_ONE
  const total = sql.get<{ count: number; bytes: number | null }>(
    `SELECT count(*) AS count, sum(length) AS bytes FROM (${found})`,
    ...scope,
  )
  const lost = sql.all<LostRange>(
    `SELECT point, machine.name AS machine, time_ms AS timeMs, disk, offset, length
     FROM (${found}) JOIN point ON point.id = point JOIN machine ON machine.id = point.machine
     WHERE ? IS NULL OR (disk, offset) > (?, ?) ORDER BY machine.name, time_ms DESC, point.id, disk, offset LIMIT ?`,
    ...scope,
    after?.disk ?? null,
    after?.disk ?? '',
    after?.offset ?? 0,
    args.limit,
  )
  return { lost, lostCount: total?.count ?? 0, lostBytes: total?.bytes ?? 0 }
}

export const damageOperations = {
  'damage.enter': write((sql, args) => {
    const entered = new Uint8Array(args.records.length)
    for (const [index, damage] of args.records.entries()) {
      if (!letGo(sql, args.tenant, damage)) continue
      const { id, type, place, reason } = damage
      sql.run(
        'INSERT OR REPLACE INTO damage (tenant, id, type, pack, offset, reason, found_ms) VALUES (?, ?, ?, ?, ?, ?, ?)',
        args.tenant,
        id,
        type,
        place?.pack ?? null,
        place?.offset ?? null,
        reason,
        args.nowMs,
      )
      entered[index] = 1
    }
    return entered
  }),

  'damage.any': read(
    (sql, { tenant }) => sql.get('SELECT 1 FROM damage WHERE tenant = ? LIMIT 1', tenant) !== undefined,
  ),

  'damage.mayTouch': read(
    (sql, { tenant, base, sinceMs }) =>
      sql.get('SELECT 1 FROM lost WHERE point = ? LIMIT 1', base) !== undefined ||
      sql.get('SELECT 1 FROM damage WHERE tenant = ? AND found_ms >= ? LIMIT 1', tenant, sinceMs) !== undefined,
  ),

  'damage.tenants': read((sql) =>
    sql
      .all<{ id: string }>('SELECT uuid AS id FROM tenant WHERE id IN (SELECT tenant FROM damage)')
      .map(({ id }) => id),
  ),

  'damage.page': read((sql, args) =>
    sql
      .all<{
        id: Uint8Array
        type: RecordType
        pack: string | null
        offset: number | null
        reason: string
        foundMs: number
      }>(
        `SELECT id, type, pack, offset, reason, found_ms AS foundMs FROM damage
           WHERE tenant = ? AND (? IS NULL OR id > ?) ORDER BY id LIMIT ?`,
        args.tenant,
        args.after,
        args.after,
        args.limit,
      )
      .map(({ id, type, ...rest }) => ({
        key: id,
        id: Buffer.from(id).toString('hex'),
        type: RECORD_TYPE_NAMES[type],
        ...rest,
      })),
  ),

  'damage.places': read((sql, args) =>
    sql.all<DamagedPlace>(
      `SELECT id, type, pack, offset FROM damage WHERE tenant = ? AND pack IS NOT NULL AND offset IS NOT NULL
         AND (? IS NULL OR id > ?) ORDER BY id LIMIT ?`,
      args.tenant,
      args.after,
      args.after,
      args.limit,
    ),
  ),

  'damage.restore': write((sql, args) => {
    let restored = 0
    for (const { id, type, pack, offset, storedLength, plainLength, codec, parts, place } of args.records)
      restored += sql.run(
        `INSERT OR IGNORE INTO chunk (tenant, id, type, pack, offset, stored, plain, codec, machine, parts, place)
         SELECT tenant, ?, ?, id, ?, ?, ?, ?, NULL, ?, ? FROM pack WHERE uuid = ? AND tenant = ? AND sealed < 2`,
        id,
        type,
        offset,
        storedLength,
        plainLength,
        codec,
        parts,
        place,
        pack,
        args.tenant,
      )
    const present = args.records.filter(
      ({ id }) => sql.get('SELECT 1 FROM chunk WHERE tenant = ? AND id = ?', args.tenant, id) !== undefined,
    )
    heal(
      sql,
      args.tenant,
      present.map(({ id }) => id),
    )
    return restored
  }),

  'damage.settle': write((sql, { tenant, ids }) => {
    for (let index = 0; index < idCount(ids); index++)
      sql.run(
        'DELETE FROM damage WHERE tenant = ? AND id = ? AND type IN (?, ?)',
        tenant,
        idAt(ids, index),
        RECORD.chunk,
        RECORD.node,
      )
    sql.run(
      `DELETE FROM damage WHERE tenant = ? AND type = ?
       AND id NOT IN (SELECT manifest FROM point WHERE tenant = ?)`,
      tenant,
      RECORD.manifest,
      tenant,
    )
    sql.run(
      `DELETE FROM damage WHERE tenant = ? AND type = ?
       AND NOT EXISTS (SELECT 1 FROM tenant WHERE tenant.id = damage.tenant AND instr(tenant.state_id, damage.id) > 0)`,
      tenant,
      RECORD.state,
    )
  }),

  'lost.stage': write((sql, args) => {
    if (args.first) sql.run('DELETE FROM lost_next WHERE tenant = ?', args.tenant)
    for (const { point, disk, offset, length, id } of args.rows)
      sql.run(
        'INSERT OR REPLACE INTO lost_next (tenant, point, disk, offset, length, id) VALUES (?, ?, ?, ?, ?, ?)',
        args.tenant,
        point,
        disk,
        offset,
        length,
        id,
      )
  }),

  'lost.replace': write((sql, { tenant }) => {
    sql.run('DELETE FROM lost WHERE point IN (SELECT id FROM point WHERE tenant = ?)', tenant)
    sql.run(
      `INSERT INTO lost (point, disk, offset, length, id)
       SELECT point, disk, offset, length, id FROM lost_next WHERE tenant = ?
       AND EXISTS (SELECT 1 FROM damage WHERE damage.tenant = lost_next.tenant AND damage.id = lost_next.id)
       AND EXISTS (SELECT 1 FROM point WHERE point.id = lost_next.point)`,
      tenant,
    )
    sql.run('DELETE FROM lost_next WHERE tenant = ?', tenant)
  }),

  'lost.list': read(lostRanges),

  'lost.show': aside(lostRanges),

  'lost.reread': read((sql, { tenant, point }) => {
    let left = REREAD_RANGES_MAX
    const disks = sql.all<{ name: string; size: number; evidence: string | null }>(
      'SELECT disk AS name, size, evidence FROM image WHERE point = ? AND attachment = 0 ORDER BY ordinal',
      point,
    )
    const wrong = missedOf(sql, point)
    return disks.map(({ name, size, evidence }): RereadDisk => {
      const missed = wrong.has(name)
      // agents of before know only this
      if (missed) return { name, size, evidence, reread: null, missed }
      const ranges = sql.all<{ offset: number; length: number }>(
        `${RANGES_OF_ONE} ORDER BY offset LIMIT ?`,
        tenant,
        point,
        name,
        name,
        left + 1,
      )
      const bytes = ranges.reduce((sum, { length }) => sum + length, 0)
      if (ranges.length > left || (size > 0 && bytes >= size)) return { name, size, evidence, reread: null, missed }
      left -= ranges.length
      return { name, size, evidence, reread: ranges.map(({ offset, length }) => [offset, length]), missed }
    })
  }),
} satisfies Partial<Operations>
