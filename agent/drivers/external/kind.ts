// This driver as the registry knows it; no configuration names it: a machine is its own by the lease that is offered.

import type { GivenKind } from '../driver.ts'
import { EXTERNAL_DRIVER, EXTERNAL_PAYLOAD } from './entry.ts'

export const EXTERNAL: GivenKind = {
  name: EXTERNAL_DRIVER,
  payload: EXTERNAL_PAYLOAD,
  open: async (host) => new (await import('./external-driver.ts')).ExternalDriver(host),
}
