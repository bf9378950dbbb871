// This driver as the registry knows it.

import type { DriverKind } from '../driver.ts'
import { OFFLINE_DRIVER, OFFLINE_PAYLOAD } from './entry.ts'
import { addressOf, keys } from './keys.ts'
import { OfflineDriver } from './offline-driver.ts'

export const OFFLINE: DriverKind = {
  name: OFFLINE_DRIVER,
  mark: 'disks',
  keys,
  addressOf,
  payload: OFFLINE_PAYLOAD,
  open: (host) => new OfflineDriver(host),
}
