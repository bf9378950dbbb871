// This driver as the registry knows it.

import type { DriverKind } from '../driver.ts'
import { LIBVIRT_DRIVER, LIBVIRT_PAYLOAD } from './entry.ts'
import { addressOf, keys } from './keys.ts'

export const LIBVIRT: DriverKind = {
  name: LIBVIRT_DRIVER,
  mark: 'domain',
  keys,
  addressOf,
  payload: LIBVIRT_PAYLOAD,
  open: async (host) => new (await import('./libvirt-driver.ts')).LibvirtDriver(host),
}
