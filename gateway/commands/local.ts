// What the commands beside a gateway share: its data folder, a tenant by name, printing.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { tableLines } from '../../protocol/table.ts'
import { openAuthority, type Authority } from '../auth/authority.ts'
import { systemClock } from '../clock.ts'
import { LocalDatabase, type Database } from '../datastore/database/database.ts'
import type { Tenant } from '../datastore/database/tenants.ts'
import { CATALOG_NAME } from '../datastore/datastore.ts'
import { storeError } from '../datastore/store-error.ts'
import { checkCatalogVersion } from '../datastore/store-version.ts'

export const DATA_DEFAULT = '/var/lib/varve-gateway'

/** Opens the catalog of a running or stopped gateway for one short command. CONFIG_INVALID, STORE_VERSION, STORE_FAILED. */
export const withCatalog = async <R>(folder: string, work: (database: Database) => Promise<R>): Promise<R> => {
  if (!existsSync(folder))
    throw new VarveError('CONFIG_INVALID', `there is no data folder ${folder}; name the gateway's with --data DIR`)
  const catalog = path.join(folder, CATALOG_NAME)
  try {
    checkCatalogVersion(catalog)
    using database = new LocalDatabase(catalog)
    return await work(database)
  } catch (thrown) {
    throw storeError(thrown, `using the data folder ${folder}`)
  }
}

export const withAuthority = <R>(folder: string, work: (authority: Authority) => Promise<R>): Promise<R> =>
  withCatalog(folder, async (database) => work(await openAuthority({ folder, database, nowMs: systemClock.now() })))

/** A tenant by name; NOT_FOUND says how to add one. */
export const tenantNamed = async (database: Database, name: string): Promise<Tenant> => {
  const tenant = await database.call('tenant.byName', { name })
  if (tenant === null)
    throw new VarveError('NOT_FOUND', `there is no tenant "${name}"; add it with: varve-gateway tenant add ${name}`)
  return tenant
}

export const print = (line: string): void => void process.stdout.write(`${line}\n`)

export const printJson = (value: unknown): void => print(JSON.stringify(value))

/** Rows as aligned columns under a heading. */
export const printTable = (heading: readonly string[], rows: readonly (readonly string[])[]): void =>
  tableLines(heading, rows).forEach(print)
