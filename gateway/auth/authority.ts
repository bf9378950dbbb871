// What issuing and checking tokens needs: the database, the signing keys and the gateway's own name.
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import type { Catalog } from '../catalog/catalog.ts'
import { SigningKeys, type KnownKeys } from './keys.ts'

/** Name of the setting that holds the id of the newest signing key. */
const KEY_SETTING = 'signing-key'

export interface Authority {
  readonly catalog: Catalog
  readonly keys: SigningKeys
  /** `varve:<gateway uuid>`: issuer and audience of this gateway's tokens. */
  readonly issuer: string
}

interface AuthorityOptions {
  readonly folder: string
  readonly catalog: Catalog
  readonly nowMs: number
}

/** What the catalog knows of the signing keys; null where there was none yet. */
const knownKeys = async (catalog: Catalog, isNew: boolean): Promise<KnownKeys | null> => {
  const kid = await catalog.settings.get({ name: KEY_SETTING })
  if (kid !== null) return { kid }
  return !isNew && (await catalog.identities.any()) ? { kid: null } : null
}

const authorityOf = async (
  { catalog, folder }: AuthorityOptions,
  open: (keysFolder: string, isNew: boolean) => Promise<SigningKeys>,
): Promise<Authority> => {
  const before = await catalog.settings.get({ name: 'gateway' })
  const keys = await open(path.join(folder, 'keys'), before === null)
  const uuid = before ?? (await catalog.settings.init({ name: 'gateway', value: randomUUID() }))
  const { kid } = keys.newest
  if ((await catalog.settings.get({ name: KEY_SETTING })) !== kid)
    await catalog.settings.set({ name: KEY_SETTING, value: kid })
  return { catalog, keys, issuer: `varve:${uuid}` }
}

/** Opens the authority of one data folder; the gateway's uuid and first key are made once. KEYS_MISSING where there were keys before, CONFIG_INVALID, DATA_DAMAGED. */
export const openAuthority = (options: AuthorityOptions): Promise<Authority> =>
  authorityOf(options, async (folder, isNew) =>
    SigningKeys.open(folder, options.nowMs, await knownKeys(options.catalog, isNew)),
  )

/** The same with a new signing key, whether there are others or not: tokens of keys that are lost end with it. */
export const renewKeys = (options: AuthorityOptions): Promise<Authority> =>
  authorityOf(options, async (folder) => {
    const keys = await SigningKeys.open(folder, options.nowMs)
    await keys.rotate(options.nowMs)
    return keys
  })
