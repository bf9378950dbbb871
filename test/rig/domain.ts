// Boots the test guest as a libvirt domain.
import { access, chmod, copyFile, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  consoleLogOf,
  Guest,
  kernelArguments,
  MEMORY_MIB,
  type GuestDisk,
  type GuestOptions,
  type GuestProcess,
} from './guest.ts'

/** How often is looked whether a domain's QEMU has ended, in milliseconds. */
const END_POLL_MS = 100

/** A libvirtd as far as domains need it. */
export interface Hypervisor {
  /** Where its QEMUs leave the files of their process ids. */
  readonly pidFolder: string
  /** Gives files to the user of its QEMUs. */
  give(...files: readonly string[]): Promise<void>
  virsh(...args: readonly string[]): Promise<string>
}

export interface DomainOptions extends Omit<GuestOptions, 'qmp' | 'guestAgent'> {
  /** The domain has a channel to the agent in the guest. */
  readonly guestAgent: boolean
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll("'", '&apos;').replaceAll('"', '&quot;')

const diskXml = ({ id, file, format }: GuestDisk): string => `
    <disk type='file' device='disk'>
      <driver name='qemu' type='${format}' discard='unmap'/>
      <source file='${escaped(file)}'/>
      <target dev='${id}' bus='virtio'/>
    </disk>`

/** libvirt makes a socket of the guest agent itself where the domain has its channel. */
const AGENT_XML = `
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>`

const domainXml = (options: DomainOptions, kernel: string, initrd: string): string => `<domain type='qemu'>
  <name>${escaped(options.name)}</name>
  <memory unit='MiB'>${MEMORY_MIB}</memory>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>${escaped(kernel)}</kernel>
    <initrd>${escaped(initrd)}</initrd>
    <cmdline>${escaped(kernelArguments(options))}</cmdline>
  </os>
  <cpu mode='maximum'/>
  <features><acpi/></features>
  <on_reboot>destroy</on_reboot>
  <devices>${options.disks.map(diskXml).join('')}
    <serial type='file'><source path='${escaped(consoleLogOf(options))}'/></serial>${options.guestAgent ? AGENT_XML : ''}
    <memballoon model='none'/>
  </devices>
</domain>
`

/** A copy that the hypervisor's user can read, as the cache may lie in a home folder that is closed to others. */
const lend = async (file: string, folder: string): Promise<string> => {
  const copy = path.join(folder, path.basename(file))
  const present = await access(copy).then(
    () => true,
    () => false,
  )
  if (!present) await copyFile(file, copy)
  await chmod(copy, 0o644)
  return copy
}

/** A process that its parent does not wait for stays as a zombie, and has ended all the same. */
const isOver = async (pid: number): Promise<boolean> => {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')
  return stat === '' || stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z')
}

const untilOver = async (pid: number): Promise<void> => {
  while (!(await isOver(pid))) await sleep(END_POLL_MS)
}

const killed = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has ended meanwhile
  }
}

/** The QEMU of a domain that runs. */
const domainProcess = async (hypervisor: Hypervisor, name: string): Promise<GuestProcess> => {
  const pid = Number(await readFile(path.join(hypervisor.pidFolder, `${name}.pid`), 'latin1'))
  return {
    pid,
    exited: untilOver(pid),
    stop: () => void hypervisor.virsh('destroy', name).catch(() => undefined),
    kill: () => killed(pid),
  }
}

/** Defines and starts a domain with the guest; wait with `said(/^READY/)` for the end of the boot. */
export const bootDomain = async (hypervisor: Hypervisor, options: DomainOptions): Promise<Guest> => {
  const { folder, image, name } = options
  const kernel = await lend(image.kernel, folder)
  const initrd = await lend(image.initrd, folder)
  const consoleLog = consoleLogOf(options)
  await writeFile(consoleLog, '')
  await hypervisor.give(consoleLog, ...options.disks.map(({ file }) => file))
  const definition = path.join(folder, `${name}.xml`)
  await writeFile(definition, domainXml(options, kernel, initrd))
  await hypervisor.virsh('define', definition)
  await hypervisor.virsh('start', name)
  return new Guest(await domainProcess(hypervisor, name), consoleLog)
}
