// This driver as the registry knows it.

import type { DriverKind } from '../driver.ts'
import { OFFLINE_DRIVER, OFFLINE_PAYLOAD } from './entry.ts'
import { addressOf, faultOf, keys } from './keys.ts'

export const OFFLINE: DriverKind = {
  name: OFFLINE_DRIVER,
  mark: 'disks',
  keys,
  faultOf,
  addressOf,
  payload: OFFLINE_PAYLOAD,
  open: async (host) => new (await import('./offline-driver.ts')).OfflineDriver(host),
}
