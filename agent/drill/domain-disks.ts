// The disks of a libvirt domain as options of QEMU, each on a bus of the kind that the guest has drivers for. Pure.
import { optionText } from '../define/qemu-devices.ts'
import { firstWithin, textWithin, within, type Tree } from '../define/xml-tree.ts'

export interface DiskPlace {
  readonly file: string
  readonly format: string
}

export interface Platform {
  readonly isQ35: boolean
  readonly architecture: string
}

const SCSI: Readonly<Record<string, string>> = {
  'virtio-scsi': 'virtio-scsi',
  'virtio-transitional': 'virtio-scsi-pci-transitional',
  'virtio-non-transitional': 'virtio-scsi-pci-non-transitional',
  lsilogic: 'lsi53c895a',
  lsisas1068: 'mptsas1068',
  lsisas1078: 'megasas',
  vmpvscsi: 'pvscsi',
}

/** Disks of an AHCI controller. */
const AHCI_PORTS = 6

const attribute = (tree: Tree | null, name: string): string => tree?.attributes.get(name) ?? ''
const numberOf = (text: string, otherwise: number): number => (/^\d{1,4}$/u.test(text) ? Number(text) : otherwise)

class Buses {
  readonly #controllers: readonly Tree[]
  readonly #platform: Platform
  readonly #made = new Set<string>()
  readonly #counts = new Map<string, number>()

  constructor(devices: Tree, platform: Platform) {
    this.#controllers = within(devices, 'controller')
    this.#platform = platform
  }

  #controller(id: string, driver: string): string[] {
    if (this.#made.has(id)) return []
    this.#made.add(id)
    return ['-device', optionText({ driver, id }, 'driver')]
  }

  #next(bus: string): number {
    const at = this.#counts.get(bus) ?? 0
    this.#counts.set(bus, at + 1)
    return at
  }

  /** A controller, where it is needed, and the driver of the disk with its place; null for a bus that is not known. */
  place(bus: string, address: Tree | null): { before: string[]; device: Record<string, string> } | null {
    const unit = (otherwise: number): number => numberOf(attribute(address, 'unit'), otherwise)
    if (bus === 'virtio') return { before: [], device: { driver: 'virtio-blk' } }
    if (bus === 'scsi') {
      const index = attribute(address, 'controller') || '0'
      const found = this.#controllers.find(
        (one) => attribute(one, 'type') === 'scsi' && (attribute(one, 'index') || '0') === index,
      )
      const driver = SCSI[attribute(found ?? null, 'model')] ?? 'virtio-scsi'
      const id = `scsi${numberOf(index, 0)}`
      const at = unit(this.#next(id))
      const place = driver.startsWith('virtio-scsi')
        ? { channel: '0', 'scsi-id': String(numberOf(attribute(address, 'target'), 0)), lun: String(at) }
        : { 'scsi-id': String(at) }
      return { before: this.#controller(id, driver), device: { driver: 'scsi-hd', bus: `${id}.0`, ...place } }
    }
    if (bus === 'sata') {
      const at = unit(this.#next(bus)) % AHCI_PORTS
      if (this.#platform.isQ35) return { before: [], device: { driver: 'ide-hd', bus: `ide.${at}` } }
      return { before: this.#controller('sata', 'ich9-ahci'), device: { driver: 'ide-hd', bus: `sata.${at}` } }
    }
    if (bus === 'ide' && !this.#platform.isQ35) {
      const at = this.#next(bus)
      const channel = numberOf(attribute(address, 'bus'), at >> 1)
      return { before: [], device: { driver: 'ide-hd', bus: `ide.${channel % 2}`, unit: String(unit(at % 2) % 2) } }
    }
    if (bus === 'usb')
      return { before: this.#controller('xhci', 'qemu-xhci'), device: { driver: 'usb-storage', bus: 'xhci.0' } }
    if (bus === 'nvme') return { before: [], device: { driver: 'nvme', serial: `nvme${this.#next(bus)}` } }
    return null
  }
}

/** Blocks and a serial number by which the guest may know the disk. */
const ownOf = (disk: Tree): Record<string, string> => {
  const serial = textWithin(firstWithin(disk, 'serial'))
  const sizes = firstWithin(disk, 'blockio')
  const logical = attribute(sizes, 'logical_block_size')
  const physical = attribute(sizes, 'physical_block_size')
  return {
    ...(/^[\w .+-]{1,64}$/u.test(serial) ? { serial } : {}),
    ...(/^\d{3,6}$/u.test(logical) ? { logical_block_size: logical } : {}),
    ...(/^\d{3,6}$/u.test(physical) ? { physical_block_size: physical } : {}),
  }
}

/** Its disks that the restore point has; the firmware boots from the one that the domain says, or the first. */
export const diskWords = (
  devices: Tree,
  places: ReadonlyMap<string, DiskPlace>,
  platform: Platform,
  remarks: string[],
): string[] => {
  const buses = new Buses(devices, platform)
  const disks = within(devices, 'disk').filter((disk) => !['cdrom', 'floppy'].includes(attribute(disk, 'device')))
  const hasOrder = disks.some((disk) => firstWithin(disk, 'boot') !== null)
  const words: string[] = []
  let count = 0
  for (const disk of disks) {
    const target = firstWithin(disk, 'target')
    const name = attribute(target, 'dev')
    const now = places.get(name)
    const bus = attribute(target, 'bus')
    const placed = now === undefined ? null : buses.place(bus, firstWithin(disk, 'address'))
    if (now === undefined || placed === null) {
      const why = now === undefined ? 'is not in the restore point' : `is on a bus "${bus.slice(0, 40)}"`
      remarks.push(`disk ${name.slice(0, 60)} ${why}: it was left out`)
      continue
    }
    const id = `disk${count++}`
    const order = hasOrder ? attribute(firstWithin(disk, 'boot'), 'order') : count === 1 ? '1' : ''
    const boot = /^\d{1,4}$/u.test(order) ? { bootindex: order } : {}
    words.push(
      ...placed.before,
      '-drive',
      optionText({ if: 'none', id, format: now.format, file: now.file }),
      '-device',
      optionText({ ...placed.device, drive: id, ...boot, ...ownOf(disk) }, 'driver'),
    )
  }
  return words
}
