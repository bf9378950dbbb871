// The state of a tenant in the catalog: a snapshot to be written to the packs, and the note that it is there.
import { hex } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { TenantState } from '../state-record.ts'
import { eachFact, TENANT_FIELDS, type AnyRow } from '../facts.ts'
import { commitRecords } from './records.ts'
import { selectFact, selectFields } from './facts.ts'
import { read, write, type Operations } from './operation.ts'
import type { Sql } from './sql.ts'

// state_dirty is 0 where the packs have the state as it is, 1 after a change (schema.ts sets it), 2 while what changed is being
// written
const WRITING = 2

const snapshot = (sql: Sql, tenant: number, seq: number, nowMs: number): TenantState => {
  const { idKey, ...row } = sql.get<Omit<TenantState['tenant'], 'idKey'> & { readonly idKey: Uint8Array }>(
    `SELECT ${selectFields(TENANT_FIELDS)} FROM tenant WHERE id = ?`,
    tenant,
  )!
  const points = sql.all<{ id: string; held: number; lockedUntilMs: number | null }>(
    'SELECT id, held, locked_ms AS lockedUntilMs FROM point WHERE tenant = ? ORDER BY time_ms, id',
    tenant,
  )
  return {
    seq,
    timeMs: nowMs,
    gateway: sql.get<{ value: string }>("SELECT value FROM setting WHERE name = 'gateway'")?.value ?? null,
    tenant: { ...row, idKey: hex(idKey) },
    ...eachFact((fact) => sql.all<AnyRow>(selectFact(fact), tenant)),
    points: points.map(({ id, held, lockedUntilMs }) => ({ id, held: held !== 0, lockedUntilMs })),
    jobs: sql
      .all<{ id: string }>('SELECT id FROM job WHERE tenant = ? AND ended_ms IS NULL ORDER BY id', tenant)
      .map(({ id }) => id),
  }
}

export const stateOperations = {
  'states.begin': write((sql, { tenant, nowMs }) => {
    const row = sql.get<{ seq: number }>(
      'UPDATE tenant SET state_seq = state_seq + 1, state_dirty = ? WHERE id = ? AND state_dirty <> 0 RETURNING state_seq AS seq',
      WRITING,
      tenant,
    )
    return row === undefined ? null : snapshot(sql, tenant, row.seq, nowMs)
  }),

  'states.commit': write((sql, commit) => {
    commitRecords(sql, commit)
    const rows = sql.run(
      'UPDATE tenant SET state_id = ?, state_dirty = CASE state_dirty WHEN ? THEN 0 ELSE state_dirty END WHERE id = ?',
      commit.ids,
      WRITING,
      commit.tenant,
    )
    if (rows === 0) throw new VarveError('NOT_FOUND', 'the tenant is no longer there')
  }),

  'states.seq': read(
    (sql, { tenant }) => sql.get<{ seq: number }>('SELECT state_seq AS seq FROM tenant WHERE id = ?', tenant)?.seq ?? 0,
  ),

  'states.changed': read((sql) =>
    sql.all<{ id: string }>('SELECT uuid AS id FROM tenant WHERE state_dirty <> 0 ORDER BY id').map(({ id }) => id),
  ),
} satisfies Partial<Operations>
