// The leases of an agent's targets, by its configuration.
import { systemClock } from '../../protocol/host/clock.ts'
import type { AgentConfig } from '../config.ts'
import type { Drivers } from '../drivers/registry.ts'
import { TargetLeases } from './target-leases.ts'
import type { TargetLeasesOptions } from './target-options.ts'

export const targetLeases = (
  { machines, state, freeze_limit: freezeLimit }: AgentConfig,
  { drivers, ...uses }: Pick<TargetLeasesOptions, 'journal' | 'jobOf' | 'log'> & { readonly drivers: Drivers },
): TargetLeases =>
  new TargetLeases({
    machines,
    driverOf: (machine) => drivers.of(machine),
    begin: (request) => drivers.begin(request),
    stateFolder: state,
    freezeTimeoutMs: freezeLimit * 1000,
    clock: systemClock,
    ...uses,
  })
