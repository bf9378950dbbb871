// Reads a machine's disks and what is below them, and checks whether they are still those that a lease was planned for.
import type { QmpCaller } from '../../qmp/client.ts'
import { listDisks } from '../../qmp/disks.ts'
import { decideDisks } from '../decide.ts'
import { DisksChanged, seeDisks, type SeenDisks } from '../seen-disks.ts'
import type { QmpEntry } from './entry.ts'
import type { LeaseRequest } from '../driver.ts'

/** The machine's disks and what is below them; DISK_UNSUPPORTED where two disks write one file. */
export const look = async (client: QmpCaller, filters?: ReadonlyMap<string, string>): Promise<SeenDisks> =>
  await seeDisks(await listDisks(client, filters))

/** Everything that a plan for these disks depends on, to be compared with a later look. */
export const signature = (seen: SeenDisks, request: LeaseRequest): string => {
  const disks = seen.disks.map(({ name, node, qdev, size, evidence }) => [name, node, qdev, size, evidence])
  const decided = decideDisks(seen, request).disks.map(({ kind, reason, continued }) => [kind, reason, continued?.base])
  return JSON.stringify([disks, seen.leftOut, decided])
}

/**
 * Looks again once the jobs pin the disks. Until then a snapshot could have put another node on top, which then takes the
 * guest's writes, so that what is exported is older than the instant; or a disk was briefly smaller.
 */
export const refuseChange = async (
  client: QmpCaller,
  { entry, seen, request }: { readonly entry: QmpEntry; readonly seen: SeenDisks; readonly request: LeaseRequest },
): Promise<void> => {
  const filters = new Map(entry.disks.map(({ filterNode, node }) => [filterNode, node]))
  const now = await look(client, filters)
  if (signature(now, request) !== signature(seen, request)) throw new DisksChanged(entry.machine.name)
}
