// A domain as its XML describes it: disks, owner of its files, and what is kept with its backups. Pure.

import { isAbsolute } from 'node:path'
import type { LeftOutDisk } from '../../../protocol/backup.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { JsonValue } from '../../json-value.ts'
import { attributeOf, childrenOf, elementAt, readXml, textAt, type XmlElement } from '../../libvirt/xml.ts'
import { passedThrough, sharedByOthers, type RefusedDisk } from '../../qmp/disk-devices.ts'
import { DISKS_MAX, type DiskImage } from '../../qmp/disks.ts'

/** A disk of a domain that a backup can hold. */
export interface DomainDisk {
  /** The target's name, such as `vda`. */
  readonly name: string
  /** The image's format, such as `qcow2`. */
  readonly format: string
  /** The file or device, or what names the image in another store. */
  readonly fileName: string
  /** The path of a file or device of this host; null for any other store. */
  readonly path: string | null
  readonly backing: readonly DiskImage[]
  /** Number of QEMU's node `libvirt-<index>-format`; null where the domain does not run. */
  readonly index: number | null
}

/** A disk whose writes QEMU does not see, or not all of them: it cannot be held while the domain runs. */
export type RefusedDomainDisk = DomainDisk & RefusedDisk

export interface DomainDescription {
  readonly name: string
  readonly uuid: string
  readonly disks: readonly DomainDisk[]
  readonly leftOut: readonly LeftOutDisk[]
  readonly refused: readonly RefusedDomainDisk[]
  /** The user and group that QEMU runs as, where libvirt tells. */
  readonly owner: { readonly uid: number; readonly gid: number } | null
  /** It has a channel to an agent in its guest. */
  readonly hasGuestAgent: boolean
  /** Where QEMU listens for whoever speaks to that agent, which is libvirt while its daemon runs; null where it is not known. */
  readonly guestAgentSocket: string | null
  readonly configuration: { readonly [key: string]: JsonValue }
}

/** Attributes of <source> that name an image, with those that say where it is. */
const LOCATORS = ['file', 'dev', 'protocol', 'pool', 'name', 'volume', 'dir', 'type', 'namespace'] as const

interface Source {
  readonly fileName: string
  readonly path: string | null
  readonly index: number | null
}

/** What a <source> names; null where it names nothing. */
const sourceOf = (element: XmlElement | null): Source | null => {
  if (element === null) return null
  const index = Number.parseInt(attributeOf(element, 'index') ?? '', 10)
  const path = attributeOf(element, 'file') ?? attributeOf(element, 'dev')
  const hosts = childrenOf(element, 'host').map(
    (host) => attributeOf(host, 'socket') ?? `${attributeOf(host, 'name')}:${attributeOf(host, 'port')}`,
  )
  // of an NVMe controller that QEMU drives itself
  const address = elementAt(element, 'address')
  const slot = ['domain', 'bus', 'slot', 'function'].flatMap((name) => attributeOf(address, name) ?? [])
  const named = LOCATORS.flatMap((name) => attributeOf(element, name) ?? []).concat(hosts, slot)
  if (named.length === 0) return null
  return { fileName: path ?? named.join(' '), path, index: Number.isNaN(index) ? null : index }
}

/** The images below a disk, the nearest first; their sizes are not known here. */
const backingOf = (disk: XmlElement): DiskImage[] => {
  const chain: DiskImage[] = []
  for (let under = elementAt(disk, 'backingStore'); under !== null; under = elementAt(under, 'backingStore')) {
    const source = sourceOf(elementAt(under, 'source'))
    if (source === null) break
    const format = attributeOf(elementAt(under, 'format'), 'type') ?? ''
    chain.push({ format, fileName: source.fileName, size: 0 })
  }
  return chain
}

const isReadOnly = (disk: XmlElement): boolean =>
  attributeOf(disk, 'device') === 'cdrom' || elementAt(disk, 'readonly') !== null

/** Why a disk cannot be held; null where it can. */
const refusalOf = (disk: XmlElement): string | null => {
  if (attributeOf(disk, 'type') === 'vhostuser')
    return 'another program than QEMU reads and writes it (type="vhostuser"): attach it through QEMU, or leave it out with "exclude"'
  if (attributeOf(disk, 'device') === 'lun') return passedThrough('device="lun"', 'device="disk"')
  return elementAt(disk, 'shareable') === null ? null : sharedByOthers('<shareable/>')
}

const readDisks = (devices: XmlElement | null): Pick<DomainDescription, 'disks' | 'leftOut' | 'refused'> => {
  const disks: DomainDisk[] = []
  const leftOut: LeftOutDisk[] = []
  const refused: RefusedDomainDisk[] = []
  for (const element of devices === null ? [] : childrenOf(devices, 'disk')) {
    const source = sourceOf(elementAt(element, 'source'))
    const name = attributeOf(elementAt(element, 'target'), 'dev')
    // an empty drive is no disk
    if (source === null || name === null) continue
    if (isReadOnly(element)) {
      leftOut.push({ name, reason: 'read-only' })
      continue
    }
    if (attributeOf(element, 'device') === 'floppy') {
      leftOut.push({ name, reason: 'floppy' })
      continue
    }
    const format = attributeOf(elementAt(element, 'driver'), 'type') ?? 'raw'
    const disk: DomainDisk = { name, format, ...source, backing: backingOf(element) }
    const why = refusalOf(element)
    if (why === null) disks.push(disk)
    else refused.push({ ...disk, why })
  }
  const count = disks.length + leftOut.length + refused.length
  if (count > DISKS_MAX) {
    const sentence = `the machine has ${count} disks; at most ${DISKS_MAX} are supported`
    throw new VarveError('DISK_UNSUPPORTED', sentence)
  }
  return { disks, leftOut, refused }
}

const ownerOf = (domain: XmlElement): DomainDescription['owner'] => {
  const label = childrenOf(domain, 'seclabel').find((each) => attributeOf(each, 'model') === 'dac')
  const ids = /^\+?(\d{1,10}):\+?(\d{1,10})$/.exec(label === undefined ? '' : (textAt(label, 'label') ?? ''))
  return ids === null ? null : { uid: Number(ids[1]), gid: Number(ids[2]) }
}

/** The target of the channel through which QEMU's guest agent is reached. */
const AGENT_CHANNEL = 'org.qemu.guest_agent.0'

const UNIT_BYTES: Readonly<Record<string, number>> = {
  b: 1,
  bytes: 1,
  KB: 1e3,
  k: 1024,
  KiB: 1024,
  M: 2 ** 20,
  MiB: 2 ** 20,
  MB: 1e6,
  G: 2 ** 30,
  GiB: 2 ** 30,
  GB: 1e9,
  T: 2 ** 40,
  TiB: 2 ** 40,
}

const memoryBytesOf = (domain: XmlElement): number | null => {
  const memory = elementAt(domain, 'memory')
  const bytes = Number(textAt(domain, 'memory')) * (UNIT_BYTES[attributeOf(memory, 'unit') ?? 'KiB'] ?? Number.NaN)
  return Number.isSafeInteger(bytes) ? bytes : null
}

/** Reads a domain's XML; LIBVIRT_PROTOCOL for one that cannot be read. */
export const readDomain = (text: string): DomainDescription => {
  const domain = readXml(text, { root: 'domain' })
  const name = textAt(domain, 'name') ?? ''
  const uuid = textAt(domain, 'uuid') ?? ''
  const devices = elementAt(domain, 'devices')
  const type = elementAt(domain, 'os/type')
  const cpus = Number.parseInt(textAt(domain, 'vcpu') ?? '', 10)
  const channels = devices === null ? [] : childrenOf(devices, 'channel')
  const configuration = {
    name,
    uuid,
    cpuCount: Number.isNaN(cpus) ? null : cpus,
    architecture: attributeOf(type, 'arch'),
    memoryBytes: memoryBytesOf(domain),
    machineType: attributeOf(type, 'machine'),
  }
  const agent = channels.find((each) => attributeOf(elementAt(each, 'target'), 'name') === AGENT_CHANNEL)
  const source = agent === undefined ? null : elementAt(agent, 'source')
  const socket = attributeOf(source, 'mode') === 'bind' ? attributeOf(source, 'path') : null
  return {
    name,
    uuid,
    ...readDisks(devices),
    owner: ownerOf(domain),
    hasGuestAgent: agent !== undefined,
    guestAgentSocket: socket !== null && isAbsolute(socket) ? socket : null,
    configuration,
  }
}
