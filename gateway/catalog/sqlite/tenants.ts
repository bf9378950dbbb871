// Tenants and settings of the datastore.
import type { Tenant, TenantAccount, Quota, TenantQuota } from '../tenants.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { andElse, meant } from '../../common/meant.ts'
import { aside, read, write, type Operations } from './operation.ts'
import { putPlan } from './plans.ts'
import type { Sql } from './sql.ts'
import { tenantRow } from './tenant-row.ts'

const TENANT =
  'SELECT uuid AS id, name, id_key AS idKey, chunk_bytes AS chunkBytes, created_ms AS createdMs FROM tenant'

const QUOTA = 'SELECT uuid AS tenant, name, quota_soft AS softBytes, quota_hard AS hardBytes FROM tenant'

/** The value of a setting; null where it has none. */
export const settingOf = (sql: Sql, name: string): string | null =>
  sql.get<{ value: string }>('SELECT value FROM setting WHERE name = ?', name)?.value ?? null

export const tenantOperations = {
  'settings.get': read((sql, { name }) => settingOf(sql, name)),

  'settings.init': write((sql, { name, value }) => {
    sql.run('INSERT OR IGNORE INTO setting (name, value) VALUES (?, ?)', name, value)
    return sql.get<{ value: string }>('SELECT value FROM setting WHERE name = ?', name)!.value
  }),

  'settings.set': write((sql, { name, value }) => {
    sql.run(
      'INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value',
      name,
      value,
    )
    return null
  }),

  'tenants.add': write((sql, tenant) => {
    if (sql.get('SELECT 1 FROM tenant WHERE name = ?', tenant.name) !== undefined)
      throw new VarveError('EXISTS', `there is a tenant "${tenant.name}" already`)
    sql.run(
      'INSERT INTO tenant (name, uuid, id_key, chunk_bytes, created_ms) VALUES (?, ?, ?, ?, ?)',
      tenant.name,
      tenant.id,
      tenant.idKey,
      tenant.chunkBytes,
      tenant.nowMs,
    )
    if (tenant.plan !== undefined) putPlan(sql, tenantRow(sql, tenant.id), tenant.plan)
    return sql.get<Tenant & object>(`${TENANT} WHERE name = ?`, tenant.name)!
  }),

  'tenants.list': aside((sql) => sql.all<Tenant>(`${TENANT} ORDER BY name`)),

  'tenants.page': aside((sql, asked) =>
    sql.all<TenantAccount>(
      `SELECT uuid AS id, name, id_key AS idKey, chunk_bytes AS chunkBytes, created_ms AS createdMs,
         quota_soft AS softBytes, quota_hard AS hardBytes,
         (SELECT coalesce(sum(pack.bytes), 0) FROM pack WHERE pack.tenant = tenant.id) AS packBytes
         FROM tenant WHERE (?1 IS NULL OR name = ?1) AND name > ?2 ORDER BY name LIMIT ?3`,
      asked.only,
      asked.after ?? '',
      asked.limit,
    ),
  ),

  'tenants.byName': read((sql, { name }) => sql.get<Tenant>(`${TENANT} WHERE name = ?`, name) ?? null),

  'tenants.named': read((sql, { name }) => {
    const tenant = sql.get<Tenant>(`${TENANT} WHERE name = ?`, name)
    if (tenant !== undefined) return tenant
    const names = sql.all<{ name: string }>('SELECT name FROM tenant ORDER BY name').map((row) => row.name)
    throw new VarveError(
      'NOT_FOUND',
      andElse(`there is no tenant "${name}"${meant(name, names)}`, `add it with: varve-gateway tenant add ${name}`),
    )
  }),

  'tenants.byId': read((sql, { id }) => sql.get<Tenant>(`${TENANT} WHERE uuid = ?`, id) ?? null),

  'quotas.list': read((sql) => sql.all<TenantQuota>(`${QUOTA} ORDER BY name`)),

  'quotas.set': write((sql, args) => {
    const before = sql.get<Quota & object>(`${QUOTA} WHERE id = ?`, args.tenant)!
    const { softBytes = before.softBytes, hardBytes = before.hardBytes } = args
    if (softBytes !== null && hardBytes !== null && softBytes > hardBytes)
      throw new VarveError('PARAMS_INVALID', 'the soft quota would be above the hard one')
    sql.run('UPDATE tenant SET quota_soft = ?, quota_hard = ? WHERE id = ?', softBytes, hardBytes, args.tenant)
    return { softBytes, hardBytes }
  }),
} satisfies Partial<Operations>
