// The options of a plain QEMU that starts a domain of libvirt: what it needs to boot, and no more. The XML comes with a restore
// point and is believed in nothing. Pure.
import { VarveError } from '../../protocol/errors.ts'
import { optionText } from '../define/qemu-devices.ts'
import { firstWithin, readTree, textWithin, within, type Tree } from '../define/xml-tree.ts'
import { diskWords, type DiskPlace } from './domain-disks.ts'
import type { MachineSize } from './limits.ts'

export interface DomainSource {
  /** Where each disk is, by its target's name. */
  readonly disks: ReadonlyMap<string, DiskPlace>
  /** Where attachments are: `pflash0`, `nvram`. */
  readonly files: ReadonlyMap<string, string>
  readonly isHere: (path: string) => boolean
}

export interface MachineWords {
  readonly program: string
  /** Options that name nothing of another host. */
  readonly words: readonly string[]
  readonly size: MachineSize
  /** What of the machine is not as it is, each a sentence. */
  readonly remarks: readonly string[]
}

const ARCHITECTURES = new Set(['x86_64', 'i686', 'aarch64', 'ppc64', 's390x', 'riscv64'])

/** Firmware of UEFI where distributions have it, for domains that leave the choice to libvirt. */
const UEFI = [
  '/usr/share/OVMF/OVMF_CODE_4M.fd',
  '/usr/share/OVMF/OVMF_CODE.fd',
  '/usr/share/edk2/ovmf/OVMF_CODE.fd',
  '/usr/share/qemu/ovmf-x86_64-code.bin',
]

const UNITS: Readonly<Record<string, number>> = {
  b: 1,
  bytes: 1,
  KB: 1e3,
  k: 1024,
  KiB: 1024,
  MB: 1e6,
  M: 1024 ** 2,
  MiB: 1024 ** 2,
  GB: 1e9,
  G: 1024 ** 3,
  GiB: 1024 ** 3,
  TB: 1e12,
  T: 1024 ** 4,
  TiB: 1024 ** 4,
}

const CARDS: Readonly<Record<string, string>> = {
  virtio: 'virtio-net-pci',
  'virtio-transitional': 'virtio-net-pci-transitional',
  'virtio-non-transitional': 'virtio-net-pci-non-transitional',
  e1000: 'e1000',
  e1000e: 'e1000e',
  rtl8139: 'rtl8139',
  vmxnet3: 'vmxnet3',
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/u
const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/u

const attribute = (tree: Tree | null, name: string): string => tree?.attributes.get(name) ?? ''

const naturalOf = (text: string): number | null => (/^\d{1,15}$/u.test(text) ? Number(text) : null)

const refuse = (why: string): never => {
  throw new VarveError('DATA_DAMAGED', `domain.xml of the restore point ${why}: it cannot be tried by itself`)
}

const memoryOf = (domain: Tree): number => {
  const memory = firstWithin(domain, 'currentMemory') ?? firstWithin(domain, 'memory')
  const value = naturalOf(textWithin(memory))
  const unit = UNITS[attribute(memory, 'unit') || 'KiB']
  return value === null || unit === undefined ? refuse('has no memory') : value * unit
}

const isFirmware = (path: string): boolean => path.startsWith('/usr/share/') && !path.includes('/../')

const flash = (unit: string, file: string, rest: Readonly<Record<string, string>>): string[] => [
  '-drive',
  optionText({ if: 'pflash', unit, ...rest, file }),
]

/** Firmware and its variables, as flash. */
const firmwareWords = (os: Tree, { files, isHere }: DomainSource, remarks: string[]): string[] => {
  const loader = firstWithin(os, 'loader')
  if (attribute(loader, 'type') === 'rom') return []
  const isUefi = attribute(os, 'firmware') === 'efi' || attribute(loader, 'type') === 'pflash'
  if (!isUefi) return []
  const named = textWithin(loader)
  const own = isFirmware(named) && isHere(named) ? named : undefined
  const code = own ?? files.get('pflash0') ?? UEFI.find(isHere)
  if (code === undefined) {
    remarks.push('its firmware is neither here nor in the restore point: it had a BIOS')
    return []
  }
  const isSecure = attribute(loader, 'secure') === 'yes'
  const variables = files.get('nvram')
  if (variables === undefined) remarks.push("its firmware's variables are not in the restore point: it had none")
  const format = attribute(firstWithin(os, 'nvram'), 'format') === 'qcow2' ? 'qcow2' : 'raw'
  return [
    ...flash('0', code, { format: 'raw', readonly: 'on' }),
    ...(variables === undefined ? [] : flash('1', variables, { format })),
    ...(isSecure ? ['-global', 'driver=cfi.pflash01,property=secure,value=on'] : []),
  ]
}

const processorWords = (domain: Tree): string[] => {
  const cpu = firstWithin(domain, 'cpu')
  const mode = attribute(cpu, 'mode')
  if (mode === 'host-passthrough' || mode === 'host-model') return ['-cpu', 'host']
  if (mode === 'maximum') return ['-cpu', 'max']
  const model = textWithin(cpu === null ? null : firstWithin(cpu, 'model'))
  return /^[\w.-]{1,64}$/u.test(model) ? ['-cpu', model] : []
}

const deviceWords = (devices: Tree): string[] => {
  const cards = within(devices, 'interface').flatMap((card) => {
    const driver = CARDS[attribute(firstWithin(card, 'model'), 'type')]
    const mac = attribute(firstWithin(card, 'mac'), 'address').toLowerCase()
    return driver === undefined || !MAC.test(mac) ? [] : ['-device', optionText({ driver, mac }, 'driver')]
  })
  const video = attribute(within(devices, 'video').map((one) => firstWithin(one, 'model'))[0] ?? null, 'type')
  const hasAgent = within(devices, 'channel').some(
    (channel) => attribute(firstWithin(channel, 'target'), 'name') === 'org.qemu.guest_agent.0',
  )
  return [
    ...cards,
    '-vga',
    video === 'virtio' ? 'virtio' : video === 'none' ? 'none' : 'std',
    // the drill gives it a socket of its own
    ...(hasAgent
      ? ['-device', 'virtio-serial', '-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0']
      : []),
    ...(within(devices, 'rng').length === 0
      ? []
      : ['-object', 'rng-builtin,id=rng0', '-device', 'virtio-rng,rng=rng0']),
  ]
}

/** DATA_DAMAGED for XML that is no domain's. */
export const domainWords = (xml: string, source: DomainSource): MachineWords => {
  const domain = readTree(xml, { root: 'domain', code: 'DATA_DAMAGED' })
  const os = firstWithin(domain, 'os')
  const type = os === null ? null : firstWithin(os, 'type')
  const devices = firstWithin(domain, 'devices')
  if (os === null || type === null || devices === null) return refuse('has no <os> or no <devices>')
  if (textWithin(type) !== 'hvm') return refuse(`is of the type "${textWithin(type).slice(0, 40)}"`)
  const architecture = attribute(type, 'arch') || 'x86_64'
  if (!ARCHITECTURES.has(architecture)) return refuse(`is of the architecture "${architecture.slice(0, 40)}"`)
  const machine = attribute(type, 'machine')
  if (!/^[\w.-]{1,64}$/u.test(machine)) return refuse('has no type of machine')
  const remarks: string[] = []
  const name = textWithin(firstWithin(domain, 'name'))
  const uuid = textWithin(firstWithin(domain, 'uuid'))
  const smm = attribute(firstWithin(os, 'loader'), 'secure') === 'yes' ? { smm: 'on' } : {}
  const localTime = attribute(firstWithin(domain, 'clock'), 'offset') === 'localtime'
  const words = [
    '-nodefaults',
    '-no-user-config',
    '-name',
    optionText({ guest: name.slice(0, 200) }),
    '-machine',
    optionText({ type: machine, ...smm }, 'type'),
    ...(UUID.test(uuid) ? ['-uuid', uuid] : []),
    ...processorWords(domain),
    ...firmwareWords(os, source, remarks),
    ...(localTime ? ['-rtc', 'base=localtime'] : []),
    ...diskWords(devices, source.disks, { isQ35: machine.includes('q35'), architecture }, remarks),
    ...deviceWords(devices),
  ]
  if (within(devices, 'tpm').length > 0) remarks.push('its TPM was left out: what is sealed with it stays sealed')
  if (within(devices, 'hostdev').length > 0) remarks.push('devices of its host were left out')
  remarks.push(
    'it ran under plain QEMU with its type, memory, processors, firmware, disks and cards, not with the places of its devices, features of the processor or tuning',
  )
  const cpus = naturalOf(attribute(firstWithin(domain, 'vcpu'), 'current') || textWithin(firstWithin(domain, 'vcpu')))
  const program = `qemu-system-${architecture === 'i686' ? 'i386' : architecture}`
  return { program, words, size: { memoryBytes: memoryOf(domain), cpus: Math.max(1, cpus ?? 1) }, remarks }
}
