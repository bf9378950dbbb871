// Removes the bitmaps of a target from a machine, whatever its driver.
import { VarveError } from '../../protocol/errors.ts'
import type { Lease, LeaseRequest, MachineConfig } from '../drivers/driver.ts'
import { targetRequest } from './target-base.ts'

interface Removed {
  readonly machine: MachineConfig
  readonly target: string
  /** Of the lease that removes them. */
  readonly id: string
}

/**
 * A lease that continues nothing finds the bitmaps of its holder obsolete when it begins; it fails at once, and its own go too.
 * MACHINE_OFF where nothing can be removed, and what beginning a lease ends with.
 */
export const removeBitmaps = async (
  begin: (request: LeaseRequest) => Promise<Lease>,
  { machine, target, id: leaseId }: Removed,
): Promise<void> => {
  // nobody reads it: its hooks have nothing to do, and neither has the guest
  const { hooks: _, ...quiet } = machine
  const wishes = { full: true, consistency: 'none', freezeTimeoutMs: 1000 } as const
  const lease = await begin(targetRequest({ machine: quiet, target, leaseId, ...wishes }))
  await lease.end('failed')
  if (lease.checkpoint) return
  const sentence =
    `machine ${machine.name} is off: the bitmaps of target ${target} can be removed while it runs; ` +
    `"varve-agent forget" removes them with all others`
  throw new VarveError('MACHINE_OFF', sentence)
}
