// Tenants and settings of the datastore.
import { VarveError } from '../../../protocol/errors.ts'
import { andElse, meant } from '../../common/meant.ts'
import { appendAudit } from './audit.ts'
import type { Actor } from './identities.ts'
import { aside, read, write } from './operation.ts'
import type { Quota, TenantQuota } from '../quota.ts'
import type { Sql } from './sql.ts'

export interface Tenant {
  readonly id: number
  readonly name: string
  readonly uuid: string
  readonly idKey: Uint8Array
  readonly chunkBytes: number
  readonly createdMs: number
}

const TENANT = 'SELECT id, name, uuid, id_key AS idKey, chunk_bytes AS chunkBytes, created_ms AS createdMs FROM tenant'

/** The value of a setting; null where it has none. */
export const settingOf = (sql: Sql, name: string): string | null =>
  sql.get<{ value: string }>('SELECT value FROM setting WHERE name = ?', name)?.value ?? null

export const tenantOperations = {
  'settings.get': read((sql: Sql, { name }: { name: string }): string | null => settingOf(sql, name)),

  /** The value that is there afterwards: an existing one is kept. */
  'settings.init': write((sql: Sql, { name, value }: { name: string; value: string }): string => {
    sql.run('INSERT OR IGNORE INTO setting (name, value) VALUES (?, ?)', name, value)
    return sql.get<{ value: string }>('SELECT value FROM setting WHERE name = ?', name)!.value
  }),

  'settings.set': write((sql: Sql, { name, value }: { name: string; value: string }): null => {
    sql.run(
      'INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value',
      name,
      value,
    )
    return null
  }),

  'tenants.add': write(
    (
      sql: Sql,
      tenant: { name: string; uuid: string; idKey: Uint8Array; chunkBytes: number; nowMs: number },
    ): Tenant => {
      if (sql.get('SELECT 1 FROM tenant WHERE name = ?', tenant.name) !== undefined)
        throw new VarveError('EXISTS', `there is a tenant "${tenant.name}" already`)
      sql.run(
        'INSERT INTO tenant (name, uuid, id_key, chunk_bytes, created_ms) VALUES (?, ?, ?, ?, ?)',
        tenant.name,
        tenant.uuid,
        tenant.idKey,
        tenant.chunkBytes,
        tenant.nowMs,
      )
      return sql.get<Tenant & object>(`${TENANT} WHERE name = ?`, tenant.name)!
    },
  ),

  'tenants.list': aside((sql: Sql, _: Record<string, never>): Tenant[] => sql.all<Tenant>(`${TENANT} ORDER BY name`)),

  'tenants.byName': read(
    (sql: Sql, { name }: { name: string }): Tenant | null => sql.get<Tenant>(`${TENANT} WHERE name = ?`, name) ?? null,
  ),

  /** NOT_FOUND names those that may be meant: for the gateway's own user only. */
  'tenants.named': read((sql: Sql, { name }: { name: string }): Tenant => {
    const tenant = sql.get<Tenant>(`${TENANT} WHERE name = ?`, name)
    if (tenant !== undefined) return tenant
    const names = sql.all<{ name: string }>('SELECT name FROM tenant ORDER BY name').map((row) => row.name)
    throw new VarveError(
      'NOT_FOUND',
      andElse(`there is no tenant "${name}"${meant(name, names)}`, `add it with: varve-gateway tenant add ${name}`),
    )
  }),

  'tenants.byUuid': read(
    (sql: Sql, { uuid }: { uuid: string }): Tenant | null => sql.get<Tenant>(`${TENANT} WHERE uuid = ?`, uuid) ?? null,
  ),

  'tenants.byId': read(
    (sql: Sql, { id }: { id: number }): Tenant | null => sql.get<Tenant>(`${TENANT} WHERE id = ?`, id) ?? null,
  ),

  /** Of every tenant. */
  'quotas.list': read((sql: Sql, _: Record<string, never>): TenantQuota[] =>
    sql.all<TenantQuota>(
      'SELECT uuid, name, quota_soft AS softBytes, quota_hard AS hardBytes FROM tenant ORDER BY name',
    ),
  ),

  'quotas.set': write((sql: Sql, args: Quota & { tenant: number; nowMs: number; by: Actor }): void => {
    const { tenant, softBytes, hardBytes, nowMs, by } = args
    sql.run('UPDATE tenant SET quota_soft = ?, quota_hard = ? WHERE id = ?', softBytes, hardBytes, tenant)
    appendAudit(sql, {
      timeMs: nowMs,
      tenant,
      subject: by.subject,
      role: by.role,
      action: 'tenant.quota',
      resource: '',
      outcome: 'ok',
      details: { softBytes, hardBytes },
    })
  }),
}
