// A machine of another driver as this one reads it while it is off.

import type { Machine, MachineConfig } from '../driver.ts'
import { OFFLINE_DRIVER } from './entry.ts'
import { addressOf } from './keys.ts'

/** `keys` are those of this driver. */
export const asOffline = (machine: MachineConfig, keys: Machine['keys']): MachineConfig => ({
  ...machine,
  driver: OFFLINE_DRIVER,
  address: addressOf(keys),
  keys,
})
