// A libvirtd of its own in a folder: in session mode, and as an unprivileged user where this process is root.
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Hypervisor } from './domain.ts'
import { run } from './run.ts'

/** Debian's user nobody: a libvirtd started by root would take itself for the machine's own one. */
const NOBODY = { uid: 65_534, gid: 65_534 }

/** Without virtlogd, which libvirtd would start and leave behind. */
const QEMU_CONF = 'stdio_handler = "file"\n'

const FOLDERS = ['run', 'config', 'config/libvirt', 'cache', 'data', 'scratch']

export interface Libvirtd extends Hypervisor {
  readonly uri: string
  /** A folder that its QEMUs may write into. */
  readonly scratch: string
  /** The program with its arguments, and the variables that it needs; it stays in the foreground. */
  readonly line: readonly [program: string, ...args: string[]]
  readonly env: Readonly<Record<string, string>>
  /** Makes its folders; once, before it is started. */
  prepare(): Promise<void>
  answers(): Promise<boolean>
}

/** `folder` is made by `prepare`; the one that it lies in is opened for others to pass through. */
export const libvirtdIn = (folder: string): Libvirtd => {
  const at = (name: string): string => path.join(folder, name)
  const uri = `qemu:///session?socket=${at('run/libvirt/libvirt-sock')}`
  const owner = process.getuid?.() === 0 ? NOBODY : null
  const daemon = ['libvirtd', '--config', at('config/libvirt/libvirtd.conf')] as const
  const virsh = (...args: string[]): Promise<string> => run('virsh', ['-q', '-c', uri, ...args])
  return {
    uri,
    owner,
    line:
      owner === null
        ? daemon
        : ['setpriv', `--reuid=${owner.uid}`, `--regid=${owner.gid}`, '--clear-groups', ...daemon],
    virsh,
    scratch: at('scratch'),
    pidFolder: at('run/libvirt/qemu/run'),
    env: {
      HOME: folder,
      XDG_RUNTIME_DIR: at('run'),
      XDG_CONFIG_HOME: at('config'),
      XDG_CACHE_HOME: at('cache'),
      XDG_DATA_HOME: at('data'),
    },
    prepare: async () => {
      const folders = [folder, ...FOLDERS.map(at)]
      for (const one of folders) await mkdir(one, { mode: 0o700 })
      const files = [at('config/libvirt/qemu.conf'), at('config/libvirt/libvirtd.conf')] as const
      await writeFile(files[0], QEMU_CONF)
      await writeFile(files[1], '')
      if (owner === null) return
      // QEMU opens disks by path.
      await chmod(path.dirname(folder), 0o711)
      for (const one of [...folders, ...files]) await chown(one, owner.uid, owner.gid)
    },
    answers: () =>
      virsh('list').then(
        () => true,
        () => false,
      ),
  }
}
