// The demonstration's guests as domains of a libvirtd of their own, which knows nothing of this machine's.
import path from 'node:path'
import { bootDomain } from '../rig/domain.ts'
import { libvirtdIn } from '../rig/libvirtd.ts'
import type { Host } from './host.ts'

/** A libvirtd in a folder of `folder`, beside the domains' disks and logs. */
export const libvirtHost = (folder: string): Host => {
  const libvirtd = libvirtdIn(path.join(folder, 'libvirt'))
  const { uri, line, env } = libvirtd
  return {
    // libvirt makes checkpoints of qcow2 disks only.
    disks: [
      { id: 'vda', letter: 'a', format: 'qcow2', size: '512M' },
      { id: 'vdb', letter: 'b', format: 'qcow2', size: '256M' },
    ],
    where: ', a libvirt domain,',
    machineKeys: (machine) => `domain = "${machine}"\nuri = "${uri}"`,
    command: async () => {
      await libvirtd.prepare()
      return { line, env }
    },
    answers: () => libvirtd.answers(),
    boot: ({ backedUp, ...options }) => bootDomain(libvirtd, { ...options, folder, guestAgent: backedUp }),
    hints: (machine) => [
      `virsh -c '${uri}' domjobinfo ${machine}`,
      `virsh -c '${uri}' checkpoint-list ${machine} --tree`,
    ],
  }
}
