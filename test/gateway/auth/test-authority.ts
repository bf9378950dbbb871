// A gateway's authority with tenants in a folder of its own, and tokens built by hand as an attacker would.
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import { randomBytes, randomUUID, sign, type KeyObject } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { openAuthority, type Authority } from '../../../gateway/auth/authority.ts'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import { openLocal, openThread } from '../../../gateway/catalog/sqlite/database.ts'
import { asVarveError } from '../../../protocol/errors.ts'
import { tempFolder } from '../../support/temp.ts'

/** The instant that the tests of tokens call now. */
export const NOW_MS = Date.UTC(2026, 10, 20, 12)

export interface TestAuthority extends AsyncDisposable {
  readonly folder: string
  readonly authority: Authority
  readonly catalog: Catalog
  readonly acme: Tenant
  readonly other: Tenant
}

/** A fresh authority with the tenants `acme` and `other`; its database is on a thread of its own where asked. */
export const testAuthority = async (thread = false): Promise<TestAuthority> => {
  const stack = new AsyncDisposableStack()
  const temp = stack.use(await tempFolder())
  const folder = temp.join('data')
  await mkdir(folder)
  const file = temp.join('data', 'catalog.db')
  const catalog = thread ? stack.use(await openThread(file)) : stack.use(openLocal(file))
  const add = (name: string): Promise<Tenant> =>
    catalog.tenants.add({ name, id: randomUUID(), idKey: randomBytes(32), chunkBytes: 65_536, nowMs: NOW_MS })
  const acme = await add('acme')
  const other = await add('other')
  const authority = await openAuthority({ folder, catalog, nowMs: NOW_MS })
  return { folder, authority, catalog, acme, other, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

/** The code of the error that `work` ends with; `none` where it ends well. */
export const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'none',
    (error: unknown) => asVarveError(error).code,
  )

export const encodePart = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

export const decodePart = (token: string, index: number): Record<string, unknown> =>
  JSON.parse(Buffer.from(token.split('.')[index] ?? '', 'base64url').toString()) as Record<string, unknown>

/** A token with these parts, signed with an Ed25519 key by Node alone. */
export const forge = (header: unknown, payload: unknown, key: KeyObject): string => {
  const text = `${encodePart(header)}.${encodePart(payload)}`
  return `${text}.${sign(null, Buffer.from(text), key).toString('base64url')}`
}
