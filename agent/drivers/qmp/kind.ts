// This driver as the registry knows it.

import type { DriverKind } from '../driver.ts'
import { QMP_DRIVER, QMP_PAYLOAD } from './entry.ts'
import { addressOf, keys } from './keys.ts'

export const QMP: DriverKind = {
  name: QMP_DRIVER,
  mark: 'qmp',
  keys,
  addressOf,
  payload: QMP_PAYLOAD,
  open: async (host) => new (await import('./qmp-driver.ts')).QmpDriver(host),
}
