// The demonstration's guests as domains of a libvirtd of their own, which knows nothing of this machine's.
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { bootDomain, type Hypervisor } from '../rig/domain.ts'
import { run } from '../rig/run.ts'
import type { Host } from './host.ts'

/** Debian's user nobody: libvirtd started by root would take itself for the machine's own one. */
const NOBODY = { uid: 65_534, gid: 65_534 }

/** Without virtlogd, which libvirtd would start and leave behind. */
const QEMU_CONF = 'stdio_handler = "file"\n'

/** A session libvirtd whose folders all lie in `folder`; disks and logs may lie beside it. */
export const libvirtHost = (folder: string): Host => {
  const own = path.join(folder, 'libvirt')
  const at = (...parts: string[]): string => path.join(own, ...parts)
  const uri = `qemu:///session?socket=${at('run/libvirt/libvirt-sock')}`
  const owner = process.getuid?.() === 0 ? NOBODY : null
  const env = {
    HOME: own,
    XDG_RUNTIME_DIR: at('run'),
    XDG_CONFIG_HOME: at('config'),
    XDG_CACHE_HOME: at('cache'),
    XDG_DATA_HOME: at('data'),
  }
  const virsh = (...args: string[]): Promise<string> => run('virsh', ['-q', '-c', uri, ...args])
  const hypervisor: Hypervisor = { owner, pidFolder: at('run/libvirt/qemu/run'), virsh }

  const prepare = async (): Promise<void> => {
    const folders = [own, ...['run', 'config', 'config/libvirt', 'cache', 'data'].map((name) => at(name))]
    for (const one of folders) await mkdir(one, { mode: 0o700 })
    const files = [at('config/libvirt/qemu.conf'), at('config/libvirt/libvirtd.conf')]
    await writeFile(files[0]!, QEMU_CONF)
    await writeFile(files[1]!, '')
    if (owner === null) return
    // QEMU opens its disks by path.
    await chmod(folder, 0o711)
    for (const one of [...folders, ...files]) await chown(one, owner.uid, owner.gid)
  }

  return {
    // libvirt makes checkpoints of qcow2 disks only.
    disks: [
      { id: 'vda', letter: 'a', format: 'qcow2', size: '512M' },
      { id: 'vdb', letter: 'b', format: 'qcow2', size: '256M' },
    ],
    where: ', a libvirt domain,',
    machineKeys: (machine) => `domain = "${machine}"\nuri = "${uri}"`,
    command: async () => {
      await prepare()
      const drop = owner === null ? [] : ['setpriv', `--reuid=${owner.uid}`, `--regid=${owner.gid}`, '--clear-groups']
      return { line: [...drop, 'libvirtd', '--config', at('config/libvirt/libvirtd.conf')], env }
    },
    answers: () =>
      virsh('list').then(
        () => true,
        () => false,
      ),
    boot: ({ backedUp, ...options }) => bootDomain(hypervisor, { ...options, folder, guestAgent: backedUp }),
    hints: (machine) => [
      `virsh -c '${uri}' domjobinfo ${machine}`,
      `virsh -c '${uri}' checkpoint-list ${machine} --tree`,
    ],
  }
}
