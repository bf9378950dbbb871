// A libvirt domain as it is defined where it was restored: its disks and firmware are the restored ones, and nothing of it is of
// the host or the machine that it was. The XML comes with a restore point and is believed in nothing. Pure.
import { VarveError } from '../../protocol/errors.ts'
import { moveDevices } from './domain-devices.ts'
import { shellQuoted } from './shell-words.ts'
import {
  element,
  firstWithin,
  keepWithin,
  namesOf,
  onlyText,
  readTree,
  replaceWithin,
  textWithin,
  within,
  writeTree,
  type Tree,
} from './xml-tree.ts'

export interface DomainWishes {
  /** Null: as it was. */
  readonly name: string | null
  /** Another uuid and other MACs. */
  readonly newIds: boolean
  /** Where each disk is now. */
  readonly disks: ReadonlyMap<string, { readonly path: string; readonly format: string }>
  /** Where each attachment is now, by its name. */
  readonly files: ReadonlyMap<string, string>
  /** The folder of the machine, for what libvirt makes for it. */
  readonly folder: string
  readonly isHere: (path: string) => boolean
  readonly newUuid: () => string
  readonly newMac: () => string
}

export interface DomainPlan {
  readonly xml: string
  readonly name: string
  readonly uuid: string
  readonly macs: readonly string[]
  /** What is not as it was, and what a person has to do, each a sentence. */
  readonly remarks: readonly string[]
}

const PARTS = namesOf(
  `name uuid genid title description metadata memory maxMemory currentMemory memoryBacking memtune vcpu vcpus iothreads
  iothreadids defaultiothread os sysinfo features cpu clock on_poweroff on_reboot on_crash on_lockfailure pm perf devices
  launchSecurity keywrap blkiotune cputune`,
)

/** Of the host alone, and made anew by libvirt: nothing is said of them. */
const SILENT = namesOf('resource seclabel')

const OS_PARTS = namesOf('type loader nvram boot bootmenu smbios bios firmware')
const SCHEDULE_PARTS = namesOf('shares period quota global_period global_quota emulator_period emulator_quota')

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/u
const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/u

/** As libvirt takes it, and as it is safe in a path. */
const NAME = /^(?!\.{1,2}$)[^\p{Cc}/]{1,200}$/u

const FIRMWARE_FOLDERS = ['/usr/share/', '/usr/lib/']

const isFirmware = (path: string): boolean =>
  FIRMWARE_FOLDERS.some((folder) => path.startsWith(folder)) && !path.split('/').includes('..')

const refuse = (why: string): never => {
  throw new VarveError(
    'DATA_DAMAGED',
    `domain.xml of the restore point ${why}: restore without --define, and look at it`,
  )
}

const moveFirmware = (os: Tree, wishes: DomainWishes, remark: (sentence: string) => void): void => {
  const { files, folder, isHere } = wishes
  const loader = firstWithin(os, 'loader')
  const path = loader === null ? '' : onlyText(loader)
  const code = files.get('pflash0')
  if (loader !== null && isFirmware(path) && isHere(path)) {
    // it is there for all machines of the host, and none of them writes it
    if (loader.attributes.get('type') === 'pflash') loader.attributes.set('readonly', 'yes')
  } else if (loader !== null && path !== '') {
    loader.children = code === undefined ? [] : [code]
    if (code === undefined) {
      remark(
        `its firmware ${path.slice(0, 200)} is not here, nor in the restore point: name another one ("virsh edit")`,
      )
      replaceWithin(os, (part) => (part.name === 'loader' ? null : part))
    } else {
      // libvirt would choose by itself otherwise
      os.attributes.delete('firmware')
      replaceWithin(os, (part) => (part.name === 'firmware' ? null : part))
    }
  }
  const variables = files.get('nvram')
  replaceWithin(os, (part) => {
    if (part.name !== 'nvram') return part
    const hadFile = textWithin(part) !== '' || firstWithin(part, 'source') !== null
    const template = part.attributes.get('template') ?? ''
    const from = isFirmware(template) && isHere(template) ? { template } : {}
    const format = part.attributes.get('format')
    const made = element('nvram', { ...from, ...(format === undefined ? {} : { format }) })
    if (variables !== undefined) made.children.push(variables)
    else if (hadFile) {
      made.children.push(`${folder}/nvram.fd`)
      remark("its firmware's variables are not in the restore point: they begin anew, without its boot entries")
    }
    return made
  })
}

const moveOs = (domain: Tree, wishes: DomainWishes, remark: (sentence: string) => void): void => {
  const os = firstWithin(domain, 'os')
  if (os === null) return refuse('has no <os>')
  for (const name of ['kernel', 'initrd', 'dtb', 'acpi']) {
    const path = textWithin(firstWithin(os, name))
    if (firstWithin(os, name) !== null)
      remark(`it booted with a file of its host (<${name}>, ${path.slice(0, 200)}), which no restore point has`)
  }
  keepWithin(os, OS_PARTS)
  moveFirmware(os, wishes, remark)
}

/** What the firmware tells the guest: no file of the host, and the machine's own uuid. */
const moveSystemTable = (table: Tree, uuid: string): Tree => {
  replaceWithin(table, (part) => (part.attributes.has('file') ? null : part))
  for (const system of within(table, 'system'))
    for (const entry of within(system, 'entry')) if (entry.attributes.get('name') === 'uuid') entry.children = [uuid]
  return table
}

const movePart = (part: Tree, ids: { readonly name: string; readonly uuid: string }, wishes: DomainWishes): Tree => {
  if (part.name === 'name') return element('name', {}, ids.name)
  if (part.name === 'uuid') return element('uuid', {}, ids.uuid)
  // a guest that is set back has to learn it
  if (part.name === 'genid') return element('genid', {}, wishes.newUuid())
  if (part.name === 'sysinfo') return moveSystemTable(part, ids.uuid)
  if (part.name === 'vcpu') for (const name of ['cpuset', 'placement']) part.attributes.delete(name)
  if (part.name === 'cputune') keepWithin(part, SCHEDULE_PARTS)
  if (part.name === 'blkiotune') keepWithin(part, namesOf('weight'))
  return part
}

/** DATA_DAMAGED for XML that is no domain's, PARAMS_INVALID for a name that no domain can have. */
export const planDomain = (xml: string, wishes: DomainWishes): DomainPlan => {
  const remarks: string[] = []
  const remark = (sentence: string): void => void (remarks.includes(sentence) || remarks.push(sentence))
  const domain = readTree(xml, { root: 'domain', code: 'DATA_DAMAGED' })
  const type = domain.attributes.get('type') ?? ''
  if (type !== 'kvm' && type !== 'qemu') refuse(`is of the type "${type.slice(0, 40)}"`)
  domain.attributes = new Map([['type', type]])
  if (type === 'kvm' && !wishes.isHere('/dev/kvm'))
    remark('this host has no KVM (/dev/kvm), with which the machine ran')
  if (wishes.name !== null && !NAME.test(wishes.name))
    throw new VarveError('PARAMS_INVALID', `--name ${JSON.stringify(wishes.name)} is no name that a domain can have`)
  const name = wishes.name ?? textWithin(firstWithin(domain, 'name'))
  if (!NAME.test(name)) refuse('has no name that a domain can have')
  const before = textWithin(firstWithin(domain, 'uuid')).toLowerCase()
  const uuid = wishes.newIds || !UUID.test(before) ? wishes.newUuid() : before
  if (firstWithin(domain, 'uuid') === null) domain.children.unshift(element('uuid'))
  if (firstWithin(domain, 'name') === null) domain.children.unshift(element('name'))
  const seen = new Set<string>()
  replaceWithin(domain, (part) => {
    // a second one would be read by somebody else
    if (PARTS.has(part.name) && (part.name === 'sysinfo' || !seen.has(part.name))) {
      seen.add(part.name)
      return movePart(part, { name, uuid }, wishes)
    }
    if (part.name === 'numatune') remark('it was bound to nodes of its host (numatune): it is not any more')
    else if (part.name.endsWith(':commandline'))
      remark(
        `arguments that went to QEMU as they are (<${part.name}>) are left out: add what it needs with "virsh edit"`,
      )
    else if (!SILENT.has(part.name)) remark(`<${part.name}> is left out`)
    return null
  })
  moveOs(domain, wishes, remark)
  const devices = firstWithin(domain, 'devices')
  if (devices === null) return refuse('has no <devices>')
  const found = moveDevices(devices, { ...wishes, newMac: wishes.newIds ? wishes.newMac : null, remark })
  for (const disk of wishes.disks.keys())
    if (!found.attached.has(disk)) remark(`disk ${disk} is restored, but the domain had no disk of that name`)
  if (found.hasTpm && [...wishes.files.keys()].some((file) => file.startsWith('swtpm/'))) {
    const [from, at] = [`${wishes.folder}/attachments/swtpm`, `/var/lib/libvirt/swtpm/${uuid}`]
    remark(
      `lay the state of its TPM where libvirt keeps it, before the first start: "cp -rT ${shellQuoted(from)} ${at} && chown -R tss:tss ${at}"`,
    )
  }
  if (found.networks.length > 0) remark(`it expects of this host: ${[...new Set(found.networks)].join(', ')}`)
  if (found.macs.some((mac) => !MAC.test(mac))) refuse('has a MAC that is none')
  return { xml: writeTree(domain), name, uuid, macs: found.macs, remarks }
}
