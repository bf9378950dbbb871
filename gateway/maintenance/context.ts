// The context of all maintenance work: one tenant's part of the datastore, progress and abort.
import type { Tenant } from '../catalog/tenants.ts'
import type { MaintenanceProgress } from '../../protocol/maintenance.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Datastore } from '../datastore/datastore.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Rate } from '../../protocol/host/throttle.ts'

export interface MaintenanceContext {
  readonly datastore: Datastore
  readonly tenant: Tenant
  readonly clock: Clock
  readonly log: Log
  /** Ends the work, between two steps, with its reason. */
  readonly signal: AbortSignal
  /** The rate that changes while the work runs, in place of the one of its parameters. */
  readonly pace?: Rate
  readonly onProgress: (progress: MaintenanceProgress) => void
}
