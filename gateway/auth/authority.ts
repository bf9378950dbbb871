// What issuing and checking tokens needs: the database, the signing keys and the gateway's own name.
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import type { Database } from '../datastore/database/database.ts'
import { SigningKeys } from './keys.ts'

export interface Authority {
  readonly database: Database
  readonly keys: SigningKeys
  /** `varve:<gateway uuid>`: issuer and audience of this gateway's tokens. */
  readonly issuer: string
}

/** Opens the authority of one data folder; the gateway's uuid and first key are made once. CONFIG_INVALID, DATA_DAMAGED. */
export const openAuthority = async (options: {
  readonly folder: string
  readonly database: Database
  readonly nowMs: number
}): Promise<Authority> => {
  const { database, folder, nowMs } = options
  const uuid =
    (await database.call('setting.get', { name: 'gateway' })) ??
    (await database.call('setting.init', { name: 'gateway', value: randomUUID() }))
  return { database, keys: await SigningKeys.open(path.join(folder, 'keys'), nowMs), issuer: `varve:${uuid}` }
}
