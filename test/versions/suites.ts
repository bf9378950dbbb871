// What is run with each version, and where each version comes from.

/** A release of Debian, as its archive calls it, from whose packages QEMU and libvirt are taken. */
export const RELEASES = ['bullseye', 'bookworm', 'bookworm-backports', 'trixie', 'sid'] as const
export type Release = (typeof RELEASES)[number]

/** What is held to a version; `libvirtMin`: the oldest libvirt that is not refused, `qemuMin`: the oldest QEMU that can do it. */
export interface Suite {
  readonly name: string
  readonly files: readonly string[]
  readonly libvirtMin?: readonly [number, number]
  readonly qemuMin?: readonly [number, number]
}

const LIBVIRT_MIN = [7, 6] as const

export const SUITES: readonly Suite[] = [
  { name: 'qmp', files: ['test/agent/drivers/qmp/conformance.test.ts'] },
  {
    name: 'push',
    files: [
      'test/agent/drivers/qmp/push-conformance.test.ts',
      'test/agent/drivers/qmp/push-killed.test.ts',
      'test/agent/drivers/qmp/push.test.ts',
    ],
    qemuMin: [7, 2],
  },
  { name: 'fleecing', files: ['test/agent/drivers/qmp/access.test.ts'], qemuMin: [9, 0] },
  { name: 'break', files: ['test/agent/drivers/qmp/access-break.test.ts'], qemuMin: [10, 1] },
  { name: 'offline', files: ['test/agent/drivers/offline/conformance.test.ts'] },
  { name: 'libvirt', files: ['test/agent/drivers/libvirt/conformance.test.ts'], libvirtMin: LIBVIRT_MIN },
  {
    name: 'storage',
    files: ['test/agent/drivers/qmp/storage-shapes.test.ts', 'test/agent/drivers/offline/storage-shapes.test.ts'],
  },
  {
    name: 'storage-libvirt',
    files: ['test/agent/drivers/libvirt/storage-shapes.test.ts'],
    libvirtMin: LIBVIRT_MIN,
  },
  // backup, increment, restore to raw, qcow2 and a device, export over NBD
  { name: 'whole-way', files: ['test/interop/export.test.ts', 'test/interop/restore.test.ts'] },
]
