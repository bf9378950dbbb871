// Devices of a QEMU's command line that may stand on another host: models without anything of the host in them. Pure.
import { parseOptions, type Options } from '../processes/option-text.ts'

/** Names of QEMU's programs. */
export const PROGRAM = /^(?:qemu-system-[a-z0-9_]+|qemu-kvm|kvm)$/u

const MODELS = [
  /virtio-(?:blk|scsi|net|balloon|rng|serial|gpu|keyboard|mouse|tablet|iommu|vga)(?:-gl)?(?:-(?:pci|device|ccw))?(?:-(?:non-)?transitional)?/u,
  /(?:qxl|VGA|cirrus|bochs|vmware|secondary|ati|ramfb)(?:-vga|-display|-svga|-VGA)?/u,
  /(?:scsi|ide)-(?:hd|cd)|floppy|nvme(?:-ns)?|ahci|ich9-(?:ahci|usb-\w+|intel-hda)|piix\d-\w+(?:-\w+)*/u,
  /lsi\w*|megasas(?:-gen2)?|mptsas1068|pvscsi|am53c974|dc390/u,
  /(?:qemu|nec-usb)-xhci|usb-(?:ehci|kbd|mouse|tablet|hub|wacom-tablet|storage)|pci-ohci/u,
  /(?:pcie-root-port|pcie-pci-bridge|pci-bridge|ioh3420|x3130-upstream|xio3130-downstream|i82801b11-bridge|pxb(?:-pcie)?)/u,
  /(?:e1000e?|igb|rtl8139|vmxnet3|ne2k_pci|pcnet|i8\w+)(?:-\w+)?/u,
  /(?:isa|pci)-serial|virtserialport|virtconsole|intel-hda|hda-(?:duplex|micro|output)|AC97/u,
  /i6300esb|ib700|pvpanic(?:-pci)?|vmgenid|vmcoreinfo|(?:intel|amd)-iommu/u,
].map(({ source }) => new RegExp(`^(?:${source})$`, 'u'))

/** Properties that name a file, a descriptor or an address of the host. */
const OF_THE_HOST = /^(?:romfile|file|path|host.*|vhost.*|sysfsdev|mdev|evdev|memdev|fsdev|tpmdev|.*fds?|opts)$/u

export const isModel = (driver: string): boolean => MODELS.some((model) => model.test(driver))

/** Whether a property names nothing of the host. */
export const isOwnProperty = (key: string): boolean => !OF_THE_HOST.test(key)

/** Keys as QEMU's options have them; one of JSON may hold anything, also a comma behind which another option begins. */
const KEY = /^[\w.-]+$/u

/** The properties that may stay. */
export const ownProperties = (options: Options): Map<string, string> =>
  new Map([...options].filter(([key]) => isOwnProperty(key)))

type Given = Options | Readonly<Record<string, string>>

const isOptions = (given: Given): given is Options => given instanceof Map

const escaped = (value: string): string => value.replaceAll(',', ',,')

/**
 * An option as QEMU reads it back, without what is no key; `implied` is the key whose value comes first, without its name where
 * it is read back so.
 */
export const optionText = (given: Given, implied: string | null = null): string => {
  const options: Options = new Map(
    [...(isOptions(given) ? given : new Map(Object.entries(given)))].filter(([key]) => KEY.test(key)),
  )
  const value = implied === null ? undefined : options.get(implied)
  const first = value?.includes('=') === true ? undefined : value
  const rest = [...options].filter(([key]) => first === undefined || key !== implied)
  return [
    ...(first === undefined ? [] : [escaped(first)]),
    ...rest.map(([key, value]) => `${key}=${escaped(value)}`),
  ].join(',')
}

/** What -global sets; of the two ways to write it QEMU tries `driver.property=value` first, whose value goes on to the end. */
export const globalOf = (text: string): { driver: string; property: string; value: string } | null => {
  const [, name, key, rest] = /^([^.=]{1,63})\.([^=]{1,63})=(.*)$/su.exec(text) ?? []
  if (name !== undefined) return { driver: name, property: key!, value: rest! }
  const options = parseOptions(text)
  const [driver, property, value] = ['driver', 'property', 'value'].map((part) => options.get(part))
  return driver === undefined || property === undefined || value === undefined ? null : { driver, property, value }
}
