// What issuing and checking tokens needs: the database, the signing keys and the gateway's own name.
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import type { Catalog } from '../catalog/catalog.ts'
import type { Change } from '../catalog/change.ts'
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
  /** Opens even when signing keys are lost. */
  readonly acceptLostKeys?: boolean
}

/** What the catalog knows of the signing keys; null where there was none yet. */
const knownKeys = async (catalog: Catalog, isNew: boolean): Promise<KnownKeys | null> => {
  const kid = await catalog.settings.get({ name: KEY_SETTING })
  if (kid !== null) return { kid }
  return !isNew && (await catalog.identities.any()) ? { kid: null } : null
}

/**
 * Opens the authority of one data folder; the gateway's uuid and first key are made once. KEYS_MISSING where there were keys
 * before, unless their loss is accepted: then tokens of lost keys end. CONFIG_INVALID, DATA_DAMAGED.
 */
export const openAuthority = async ({
  folder,
  catalog,
  nowMs,
  acceptLostKeys = false,
}: AuthorityOptions): Promise<Authority> => {
  const before = await catalog.settings.get({ name: 'gateway' })
  const known = acceptLostKeys ? null : await knownKeys(catalog, before === null)
  const keys = await SigningKeys.open(path.join(folder, 'keys'), nowMs, known)
  const uuid = before ?? (await catalog.settings.init({ name: 'gateway', value: randomUUID() }))
  const { kid } = keys.newest
  if ((await catalog.settings.get({ name: KEY_SETTING })) !== kid)
    await catalog.settings.set({ name: KEY_SETTING, value: kid })
  return { catalog, keys, issuer: `varve:${uuid}` }
}

/**
 * Makes a new signing key, which signs at once; tokens of the others stay good. It is in its folder before the catalog names it.
 * LIMIT_REACHED.
 */
export const rotateKeys = async ({ catalog, keys }: Authority, nowMs: number, change: Change): Promise<string> => {
  const kid = await keys.rotate(nowMs)
  await change((entry) => catalog.settings.set({ name: KEY_SETTING, value: kid }, entry), { details: { key: kid } })
  return kid
}
