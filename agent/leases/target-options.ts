// What the leases of targets need.
import type { Log } from '../../protocol/host/log.ts'
import type { Clock } from '../../protocol/peer.ts'
import type { Lease, LeaseDriver, LeaseRequest, Machine, MachineConfig } from '../drivers/driver.ts'
import type { LeaseJournal } from '../drivers/journal.ts'

export interface TargetLeasesOptions {
  readonly machines: readonly MachineConfig[]
  readonly driverOf: (machine: Pick<Machine, 'driver'>) => LeaseDriver
  /** Begins a lease, with whatever driver reads the machine as it is now. */
  readonly begin: (request: LeaseRequest) => Promise<Lease>
  readonly journal: LeaseJournal
  readonly stateFolder: string
  readonly freezeTimeoutMs: number
  /** The job that has a machine; null for none. */
  readonly jobOf: (machine: string) => string | null
  readonly clock: Clock
  readonly log: Log
}
