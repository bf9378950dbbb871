// The tests that take long: `npm test` leaves them to `npm run test:long`, so that it ends in minutes on two cores.

/**
 * Files that work through many histories, kills or waits on real machines and real folders. What they hold is held in short by
 * tests beside them: a full backup, an increment, a break and a restore of a real machine are always in `npm test`.
 */
export const LONG_TESTS = [
  'test/agent/drivers/libvirt/migration.test.ts',
  'test/agent/drivers/libvirt/virtnbdbackup.test.ts',
  'test/agent/drivers/offline/daemon.test.ts',
  'test/agent/drivers/qmp/access-kills.test.ts',
  'test/agent/drivers/qmp/begin-moments.test.ts',
  'test/agent/drivers/qmp/push-conformance.test.ts',
  'test/agent/drivers/qmp/push-killed.test.ts',
  'test/agent/leases/kills.test.ts',
  'test/gateway/catalog/sqlite/examine.test.ts',
  'test/gateway/memory/attack.test.ts',
  'test/gateway/scheduler/month.test.ts',
  'test/interop/attachments.test.ts',
  'test/interop/breaks.test.ts',
  'test/interop/clocks.test.ts',
  'test/interop/collection.test.ts',
  'test/interop/disaster.test.ts',
  'test/interop/drill-guest.test.ts',
  'test/interop/exact-ranges.test.ts',
  'test/interop/external-leases.test.ts',
  'test/interop/freeze.test.ts',
  'test/interop/full-disk.test.ts',
  'test/interop/guest-histories.test.ts',
  'test/interop/healing.test.ts',
  'test/interop/histories.test.ts',
  'test/interop/identity.test.ts',
  'test/interop/interruption.test.ts',
  'test/interop/large-machines.test.ts',
  'test/interop/moving.test.ts',
  'test/interop/off.test.ts',
  'test/interop/ordered-restores.test.ts',
  'test/interop/quota.test.ts',
  'test/interop/reasons.test.ts',
  'test/interop/reenrolment.test.ts',
  'test/interop/repair.test.ts',
  'test/interop/unattended.test.ts',
  'test/interop/uninstall.test.ts',
  'test/interop/ways/ways.test.ts',
  'test/model/model.test.ts',
  'test/proxmox/hostile.test.ts',
] as const

/** Files whose QEMU is newer than Debian 12's: `npm run test:versions` runs them. */
export const NEWER_QEMU_TESTS = [
  'test/agent/drivers/qmp/access-break.test.ts',
  'test/agent/drivers/qmp/access.test.ts',
] as const
