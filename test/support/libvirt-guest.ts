// The rig's real guest, which writes all the time and has an agent, as a domain of a libvirt of its own.

import { buildGuest } from '../rig/build-guest.ts'
import { bootDomain } from '../rig/domain.ts'
import type { Guest } from '../rig/guest.ts'
import { MIB } from './lease.ts'
import { LibvirtBench, qcow2Disks } from './libvirt-lease.ts'
import { startLibvirt, TestDomain } from './libvirt.ts'
import { eventually } from './temp.ts'

const DISK_BYTES = 64 * MIB

/** Boots it in an empty folder, and waits until it works and its agent answers. */
export const startLibvirtGuest = async (
  folder: string,
): Promise<{ readonly bench: LibvirtBench; readonly guest: Guest }> => {
  const image = await buildGuest()
  const libvirt = await startLibvirt({ folder })
  const disks = qcow2Disks(folder, 2).map((disk) => ({ ...disk, size: DISK_BYTES }))
  for (const disk of disks) await libvirt.makeDisk(disk)
  const guest = await bootDomain(libvirt, {
    image,
    folder,
    name: 'db1',
    guestAgent: true,
    disks: disks.map(({ target, format, file }) => ({ id: target, format, file })),
  })
  await guest.said(/^READY/)
  const domain = await libvirt.control.domainByName('db1')
  await eventually(() => libvirt.virsh('guestinfo', 'db1', '--os').catch(() => null))
  return { bench: new LibvirtBench(folder, libvirt, new TestDomain(libvirt, { name: 'db1', disks }, domain)), guest }
}
