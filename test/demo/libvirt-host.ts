// The demonstration's guests as domains of a libvirtd of their own, which knows nothing of this machine's.
import { chmod, mkdir } from 'node:fs/promises'
import path from 'node:path'
import { bootDomain } from '../rig/domain.ts'
import { TestLibvirt } from '../support/libvirt.ts'
import type { Host } from './host.ts'

/** A libvirtd in a folder of `folder`, beside the domains' disks and logs. */
export const libvirtHost = (folder: string): Host => {
  const libvirt = new TestLibvirt(path.join(folder, 'libvirt'), 'session', true)
  const { uri } = libvirt
  return {
    // libvirt makes checkpoints of qcow2 disks only.
    disks: [
      { id: 'vda', letter: 'a', format: 'qcow2', size: '512M' },
      { id: 'vdb', letter: 'b', format: 'qcow2', size: '256M' },
    ],
    where: ', a libvirt domain,',
    description: (machine) => ({
      name: 'domain.xml',
      contains: [`<name>${machine}</name>`, "dev='vda'", "dev='vdb'", 'org.qemu.guest_agent.0'],
    }),
    machineKeys: (machine) => `domain = "${machine}"\nuri = "${uri}"`,
    start: async () => {
      // Its user opens files of this folder by their paths.
      await chmod(folder, 0o711)
      await mkdir(libvirt.folder)
      await libvirt.prepare({ libvirtdConf: `log_outputs = "2:file:${path.join(libvirt.folder, 'g/libvirtd.log')}"\n` })
      await libvirt.start()
    },
    boot: ({ backedUp, ...options }) => bootDomain(libvirt, { ...options, folder, guestAgent: backedUp }),
    hints: (machine) => [
      `virsh -c '${uri}' dominfo ${machine}`,
      `qemu-img info -U ${path.join(folder, 'vda.qcow2')}  # its checkpoint is a bitmap of the image`,
    ],
    [Symbol.asyncDispose]: () => libvirt[Symbol.asyncDispose](),
  }
}
