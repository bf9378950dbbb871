// What becomes of a domain's devices on the host where it is restored: what is not known to be harmless goes. Pure.
import { PROGRAM } from './qemu-devices.ts'
import {
  element,
  firstWithin,
  keepAttributes,
  keepWithin,
  namesOf,
  onlyText,
  replaceWithin,
  within,
  type Tree,
} from './xml-tree.ts'

export interface DeviceWishes {
  /** Where each disk is now, by its target's name. */
  readonly disks: ReadonlyMap<string, { readonly path: string; readonly format: string }>
  /** A new MAC for each interface; null to keep them. */
  readonly newMac: (() => string) | null
  readonly isHere: (path: string) => boolean
  readonly remark: (sentence: string) => void
}

export interface DeviceFindings {
  readonly macs: string[]
  /** Bridges and networks that the machine expects. */
  readonly networks: string[]
  readonly attached: Set<string>
  /** It has a TPM whose state libvirt keeps. */
  hasTpm: boolean
}

type Rule = (device: Tree, wishes: DeviceWishes, found: DeviceFindings) => Tree | null

/** Whether a path can only be that of a QEMU which the host's packages brought. */
const isQemu = (file: string): boolean =>
  file.startsWith('/usr/') && !file.split('/').includes('..') && PROGRAM.test(file.split('/').at(-1)!)

const attribute = (tree: Tree | null, name: string): string => tree?.attributes.get(name) ?? ''

const DISK_ATTRIBUTES = namesOf('type device model snapshot')
const DISK_PARTS = namesOf('driver target iotune serial wwn vendor product address boot alias blockio geometry')
const DRIVER_ATTRIBUTES = namesOf(
  `name type cache error_policy rerror_policy io ioeventfd event_idx copy_on_read discard discard_no_unref detect_zeroes
  iothread queues queue_size iommu ats packed page_per_vq`,
)

const disk: Rule = (device, { disks, remark }, { attached }) => {
  const name = attribute(firstWithin(device, 'target'), 'dev')
  const kind = attribute(device, 'device')
  const now = disks.get(name)
  const isRemovable = kind === 'cdrom' || kind === 'floppy'
  const source = firstWithin(device, 'source')
  if (now === undefined && !isRemovable) {
    remark(`disk ${name} is not in the restore point: the machine comes without it`)
    return null
  }
  if (firstWithin(device, 'encryption') !== null || (source !== null && firstWithin(source, 'encryption') !== null))
    remark(`disk ${name} was encrypted by the host: what was restored is not`)
  if (firstWithin(device, 'shareable') !== null)
    remark(`disk ${name} was shared with other machines: it is not any more`)
  if (now === undefined && source !== null) remark(`drive ${name} had a medium in it: it is empty now`)
  keepAttributes(device, DISK_ATTRIBUTES)
  keepWithin(device, DISK_PARTS)
  device.attributes.set('type', 'file')
  if (kind === 'lun') {
    device.attributes.set('device', 'disk')
    remark(`disk ${name} was a unit that the guest spoke SCSI to: it is an ordinary disk now`)
  }
  replaceWithin(device, (part) => {
    if (part.name !== 'driver') return part
    keepAttributes(part, DRIVER_ATTRIBUTES)
    part.children = []
    if (now !== undefined) part.attributes.set('type', now.format)
    return part
  })
  if (now === undefined) return device
  attached.add(name)
  if (firstWithin(device, 'driver') === null)
    device.children.unshift(element('driver', { name: 'qemu', type: now.format }))
  device.children.push(element('source', { file: now.path }))
  return device
}

const NETWORK_TYPES = namesOf('network bridge user direct')
const NETWORK_PARTS = namesOf(
  'mac source model driver address boot alias link mtu bandwidth vlan virtualport filterref rom coalesce port',
)
const NETWORK_SOURCE = namesOf('network bridge dev mode portgroup')

const networkCard: Rule = (device, { newMac, remark }, { macs, networks }) => {
  const type = attribute(device, 'type')
  const mac = attribute(firstWithin(device, 'mac'), 'address').toLowerCase()
  if (!NETWORK_TYPES.has(type)) {
    remark(`the network card ${mac} was of the type "${type}", which is of its host: the machine comes without it`)
    return null
  }
  keepAttributes(device, namesOf('type trustGuestRxFilters'))
  keepWithin(device, NETWORK_PARTS)
  const source = firstWithin(device, 'source')
  if (source !== null) {
    keepAttributes(source, NETWORK_SOURCE)
    source.children = []
    const named = ['network', 'bridge', 'dev'].map((name) => attribute(source, name)).find((name) => name !== '')
    if (named !== undefined) networks.push(`${type === 'direct' ? 'device' : type} "${named}"`)
  }
  const rom = firstWithin(device, 'rom')
  if (rom !== null) keepAttributes(rom, namesOf('bar enabled'))
  const driver = firstWithin(device, 'driver')
  driver?.attributes.delete('tx_backend')
  const address = newMac?.() ?? mac
  if (address !== '') macs.push(address)
  replaceWithin(device, (part) => (part.name === 'mac' ? element('mac', { address }) : part))
  if (firstWithin(device, 'mac') === null && newMac !== null) device.children.unshift(element('mac', { address }))
  return device
}

/** Serial ports and consoles: a terminal of libvirt, whatever they were connected to. */
const port: Rule = (device, { remark }) => {
  const type = attribute(device, 'type')
  if (!['pty', 'null', 'spicevmc'].includes(type)) {
    remark(`a ${device.name} was connected to the host (${type}): it is a terminal now ("virsh console")`)
    device.attributes.set('type', 'pty')
  }
  keepAttributes(device, namesOf('type'))
  keepWithin(device, namesOf('target address alias'))
  return device
}

const channel: Rule = (device, { remark }) => {
  const type = attribute(device, 'type')
  if (!['unix', 'spicevmc', 'qemu-vdagent', 'pty', 'null'].includes(type)) {
    remark(`the channel ${attribute(firstWithin(device, 'target'), 'name')} was connected to the host: it is left out`)
    return null
  }
  keepAttributes(device, namesOf('type'))
  // libvirt makes a socket of its own where none is named
  keepWithin(device, namesOf('target address alias'))
  return device
}

const GRAPHICS_PARTS = namesOf('image jpeg zlib playback streaming clipboard mouse filetransfer channel')

/** Its password is in no restore point, so nobody but this host may connect. */
const graphics: Rule = (device, { remark }) => {
  const type = attribute(device, 'type')
  if (type !== 'vnc' && type !== 'spice') {
    remark(`a display of the type "${type}" is left out`)
    return null
  }
  const listens = [attribute(device, 'listen'), ...within(device, 'listen').map((one) => attribute(one, 'address'))]
  if (listens.some((address) => !['', '127.0.0.1', '::1', 'localhost'].includes(address)))
    remark(`its ${type} display listens on 127.0.0.1 alone now, as its password is in no restore point`)
  keepAttributes(device, namesOf('type keymap sharePolicy defaultMode'))
  keepWithin(device, GRAPHICS_PARTS)
  device.attributes.set('autoport', 'yes').set('listen', '127.0.0.1')
  return device
}

const audio: Rule = (device) => {
  const type = attribute(device, 'type')
  return element('audio', { id: attribute(device, 'id'), type: type === 'spice' ? 'spice' : 'none' })
}

const video: Rule = (device) => {
  for (const model of within(device, 'model'))
    for (const part of within(model, 'acceleration')) part.attributes.delete('rendernode')
  return device
}

const ENTROPY = namesOf('/dev/urandom /dev/random /dev/hwrng')

const entropy: Rule = (device, { isHere, remark }) => {
  const backend = firstWithin(device, 'backend')
  const model = attribute(backend, 'model')
  if (backend === null || model === 'builtin') return device
  if (model === 'random') {
    const source = onlyText(backend)
    if (!ENTROPY.has(source) || !isHere(source)) backend.children = ['/dev/urandom']
    return device
  }
  remark('a source of random numbers was connected to the host: it is left out')
  return null
}

const tpm: Rule = (device, { remark }, found) => {
  const backend = firstWithin(device, 'backend')
  if (backend === null || attribute(backend, 'type') !== 'emulator') {
    remark("the host's own TPM is left out: what the guest has sealed with it stays sealed")
    return null
  }
  found.hasTpm = true
  replaceWithin(backend, (part) => (part.name === 'source' ? null : part))
  if (firstWithin(backend, 'encryption') !== null)
    remark('the state of its TPM is encrypted with a secret of libvirt, which is not in the restore point')
  return device
}

const vsock: Rule = (device) => {
  replaceWithin(device, (part) => (part.name === 'cid' ? element('cid', { auto: 'yes' }) : part))
  return device
}

const kept: Rule = (device) => device

const onlyIf =
  (test: (device: Tree) => boolean, what: string): Rule =>
  (device, { remark }) => {
    if (test(device)) return device
    remark(`${what} is left out`)
    return null
  }

/** What it is connected to would be chosen, and its log written, by the host. */
const redirected: Rule = (device, { remark }) => {
  if (attribute(device, 'type') !== 'spicevmc') {
    remark('a redirected USB device is left out')
    return null
  }
  keepAttributes(device, namesOf('type bus'))
  keepWithin(device, namesOf('boot address alias'))
  return device
}

const RULES: Readonly<Record<string, Rule>> = {
  disk,
  interface: networkCard,
  serial: port,
  console: port,
  parallel: port,
  channel,
  graphics,
  audio,
  video,
  rng: entropy,
  tpm,
  vsock,
  controller: kept,
  sound: kept,
  watchdog: kept,
  memballoon: kept,
  panic: kept,
  iommu: kept,
  hub: kept,
  input: onlyIf((device) => firstWithin(device, 'source') === null, "an input device of the host's"),
  redirdev: redirected,
  memory: onlyIf((device) => firstWithin(device, 'source') === null, "memory on the host's files"),
  emulator: (device, { isHere, remark }) => {
    const program = onlyText(device)
    if (isQemu(program) && isHere(program)) return device
    remark(`${program.slice(0, 200)} is not here: libvirt takes its own QEMU`)
    return null
  },
}

/** What things of the host are called to people; others by their element's name. */
const OF_THE_HOST: Readonly<Record<string, string>> = {
  hostdev: 'a device of the host (hostdev)',
  filesystem: 'a shared folder of the host (filesystem)',
  shmem: 'memory shared with others (shmem)',
  lease: 'a lock of a lock manager (lease)',
}

/** Changes the devices so that nothing of them is another host's, or another machine's. */
export const moveDevices = (devices: Tree, wishes: DeviceWishes): DeviceFindings => {
  const found: DeviceFindings = { macs: [], networks: [], attached: new Set(), hasTpm: false }
  replaceWithin(devices, (device) => {
    const rule = Object.hasOwn(RULES, device.name) ? RULES[device.name]! : null
    if (rule !== null) return rule(device, wishes, found)
    const what = Object.hasOwn(OF_THE_HOST, device.name) ? OF_THE_HOST[device.name]! : `<${device.name}>`
    wishes.remark(`${what} is left out`)
    return null
  })
  return found
}
