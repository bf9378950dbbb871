// What a command that reads a lease finds in its environment.
import type { HeldLease } from '../../protocol/leases.ts'

/** A URI of an export, as libnbd and QEMU's tools take it. */
const uriOf = (socket: string, exportName: string): string =>
  `nbd+unix:///${encodeURIComponent(exportName)}?socket=${encodeURIComponent(socket).replaceAll('%2F', '/')}`

/** `VARVE_LEASE_…`: of the lease, and of each disk under its number, from 0. */
export const leaseVariables = (held: HeldLease): Record<string, string> => {
  const { lease, machine, target, timeMs, consistency, base, disks } = held
  return {
    VARVE_LEASE_ID: lease,
    VARVE_LEASE_MACHINE: machine,
    VARVE_LEASE_TARGET: target,
    VARVE_LEASE_TIME: new Date(timeMs).toISOString(),
    VARVE_LEASE_CONSISTENCY: consistency,
    VARVE_LEASE_BASE: base === null ? '' : base.lease,
    VARVE_LEASE_JSON: JSON.stringify(held),
    VARVE_LEASE_DISKS: String(disks.length),
    ...Object.fromEntries(
      disks.flatMap(({ name, size, kind, reason, socket, exportName, changed }, index) =>
        Object.entries({
          NAME: name,
          SIZE: String(size),
          KIND: kind,
          REASON: reason,
          SOCKET: socket,
          EXPORT: exportName,
          URI: uriOf(socket, exportName),
          CHANGED: changed ?? '',
        }).map(([key, value]) => [`VARVE_LEASE_DISK_${index}_${key}`, value]),
      ),
    ),
  }
}
