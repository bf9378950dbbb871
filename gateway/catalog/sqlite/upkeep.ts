// What upkeep asks of the catalog and remembers in it.
import {
  SAMPLE_DAYS_MAX,
  type LastProof,
  type Sample,
  type UpkeepNote,
  type UpkeepTenant,
  type VerifiableMachine,
} from '../upkeep.ts'
import { aside, write, type Operations } from './operation.ts'

/** The row of what belongs to no tenant. */
const PLATFORM = 0

export const upkeepOperations = {
  'upkeep.facts': aside((sql) => {
    const notes = sql.all<UpkeepNote & { readonly row: number }>(
      'SELECT tenant AS row, kind, tried_ms AS triedMs, done_ms AS doneMs, failures, note FROM upkeep ORDER BY tenant, kind',
    )
    const notesOf = Map.groupBy(notes, ({ row }) => row)
    const of = (row: number): UpkeepNote[] => (notesOf.get(row) ?? []).map(({ row: _, ...note }) => note)
    const tenants = sql.all<Omit<UpkeepTenant, 'notes'> & { readonly row: number }>(
      `SELECT tenant.id AS row, tenant.uuid AS tenant, tenant.name, tenant.created_ms AS createdMs, coalesce(made.points, 0) AS points,
         coalesce(made.seq, 0) AS newestSeq, coalesce(removed.points, 0) AS removed,
         (SELECT coalesce(sum(pack.bytes), 0) FROM pack WHERE pack.tenant = tenant.id) AS packBytes,
         coalesce(made.bytes, 0) + (SELECT coalesce(sum(bytes), 0) FROM carried WHERE carried.tenant = tenant.id) AS keptBytes,
         coalesce(running.backups, 0) AS backups,
         min(coalesce(quota_soft, quota_hard), coalesce(quota_hard, quota_soft)) AS quotaBytes
       FROM tenant LEFT JOIN removed ON removed.tenant = tenant.id
       LEFT JOIN (SELECT tenant, count(*) AS points, max(seq) AS seq, sum(bytes_stored) AS bytes FROM point GROUP BY tenant) AS made
         ON made.tenant = tenant.id
       LEFT JOIN (SELECT tenant, count(*) AS backups FROM job WHERE ended_ms IS NULL GROUP BY tenant) AS running
         ON running.tenant = tenant.id
       ORDER BY tenant.name`,
    )
    return { tenants: tenants.map(({ row, ...tenant }) => ({ ...tenant, notes: of(row) })), platform: of(PLATFORM) }
  }),

  'upkeep.noted': aside(
    (sql, { tenant, kind }) =>
      sql.get<UpkeepNote & object>(
        `SELECT kind, tried_ms AS triedMs, done_ms AS doneMs, failures, note FROM upkeep WHERE tenant = ? AND kind = ?`,
        tenant ?? PLATFORM,
        kind,
      ) ?? null,
  ),

  'upkeep.backups': aside(
    (sql) =>
      sql.get<{ backups: number }>(
        'SELECT count(*) AS backups FROM job INDEXED BY job_machine_open WHERE ended_ms IS NULL',
      )!.backups,
  ),

  'upkeep.note': write((sql, { tenant, kind, nowMs, ok, note }) => {
    sql.run(
      `INSERT INTO upkeep (tenant, kind, tried_ms, done_ms, failures, note) VALUES (?1, ?2, ?3, ?4, ?5, coalesce(?6, '{}'))
       ON CONFLICT DO UPDATE SET tried_ms = ?3, done_ms = coalesce(?4, done_ms),
         failures = CASE ?5 WHEN 0 THEN 0 ELSE failures + 1 END, note = coalesce(?6, note)`,
      tenant ?? PLATFORM,
      kind,
      nowMs,
      ok ? nowMs : null,
      ok ? 0 : 1,
      note,
    )
  }),

  'upkeep.verifiable': aside((sql, { tenant, nowMs }) =>
    sql.all<VerifiableMachine & object>(
      `SELECT machine.name AS machine, machine.member_of AS "group", count(*) AS points,
         min(CASE WHEN verified_ms <= ?2 THEN verified_ms ELSE committed_ms END) AS oldestMs
       FROM machine JOIN point ON point.machine = machine.id WHERE machine.tenant = ?1
       GROUP BY machine.id ORDER BY oldestMs, machine.name`,
      tenant,
      nowMs,
    ),
  ),

  'upkeep.proof': aside((sql, { tenant }) =>
    sql.get<LastProof & object>(
      `SELECT max(verified_ms) AS verifiedMs, count(*) - count(verified_ms) AS unverified,
           CASE WHEN count(*) = count(verified_ms) THEN min(verified_ms) END AS oldestMs,
           (SELECT max(added_ms) FROM drill WHERE drill.tenant = ?1 AND verdict = 'passed') AS drilledMs
         FROM point WHERE tenant = ?1`,
      tenant,
    )!,
  ),

  'upkeep.sample': write((sql, { day, diskBytes }) => {
    sql.run(
      `INSERT INTO sample (tenant, day, bytes)
         SELECT tenant.id, ?1, (SELECT coalesce(sum(pack.bytes), 0) FROM pack WHERE pack.tenant = tenant.id) FROM tenant
         WHERE true ON CONFLICT DO UPDATE SET bytes = excluded.bytes`,
      day,
    )
    sql.run(
      'INSERT INTO sample (tenant, day, bytes) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET bytes = excluded.bytes',
      PLATFORM,
      day,
      diskBytes,
    )
    // by number, as a clock that was ahead for a moment must not cost the history
    sql.run(
      'DELETE FROM sample WHERE day < (SELECT day FROM sample WHERE tenant = ? ORDER BY day DESC LIMIT 1 OFFSET ?)',
      PLATFORM,
      SAMPLE_DAYS_MAX - 1,
    )
  }),

  'upkeep.samples': aside((sql, { tenant, fromDay }) =>
    sql.all<Sample & object>(
      'SELECT day, bytes FROM sample WHERE tenant = ? AND day >= ? ORDER BY day',
      tenant ?? PLATFORM,
      fromDay,
    ),
  ),
} satisfies Partial<Operations>
