// Defines a restored domain at a libvirt, which has to have none of its name, uuid and MACs; it is never started here.
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { LibvirtConnection } from '../libvirt/connection.ts'
import { isLibvirtError } from '../libvirt/errors.ts'
import { attributeOf, childrenOf, elementAt, readXml } from '../libvirt/xml.ts'
import type { DomainPlan } from './domain.ts'
import { shellQuoted } from './shell-words.ts'

export const macsOf = (xml: string): string[] => {
  const devices = elementAt(readXml(xml, { root: 'domain' }), 'devices')
  const cards = devices === null ? [] : childrenOf(devices, 'interface')
  return cards.map((card) => (attributeOf(elementAt(card, 'mac'), 'address') ?? '').toLowerCase())
}

const clash = (what: string, name: string, wayOut: string): VarveError =>
  new VarveError('EXISTS', `libvirt has the domain "${name}" with the same ${what}: ${wayOut}`)

/** What makes a domain another one's double. */
export type DomainIds = Pick<DomainPlan, 'name' | 'uuid' | 'macs'>

/**
 * EXISTS where a domain has the name, the uuid or a MAC of the planned one, which would change or disturb that domain; where the
 * planned one `runs`, without being defined, it is not its own double.
 */
export const checkClashes = async (libvirt: LibvirtConnection, plan: DomainIds, runs = false): Promise<void> => {
  const macs = new Set(plan.macs)
  for (const domain of await libvirt.listAllDomains()) {
    const { name, uuid } = domain
    if (runs && uuid === plan.uuid && name === plan.name && !(await libvirt.isPersistent(domain))) continue
    if (name === plan.name)
      throw clash(
        'name',
        name,
        `define the restored one beside it with --name NEW --new-ids, or undefine that one first (virsh undefine ${shellQuoted(name)})`,
      )
    if (uuid === plan.uuid)
      throw clash('uuid', name, 'give the restored one its own with --new-ids, or undefine that one first')
    const xml = await libvirt.domainXml(domain, { inactive: true }).catch((error: unknown) => {
      // undefined meanwhile
      if (isLibvirtError(error)) return null
      throw error
    })
    const same = xml === null ? undefined : macsOf(xml).find((mac) => macs.has(mac))
    if (same !== undefined) throw clash(`MAC ${same}`, name, 'give the restored one its own with --new-ids')
  }
}

/** EXISTS, LIBVIRT_UNAVAILABLE. */
export const checkDefinable = async (uri: string, plan: DomainPlan): Promise<void> => {
  await using libvirt = await LibvirtConnection.open({ uri })
  await checkClashes(libvirt, plan)
}

/** EXISTS; LIBVIRT_ERROR says where the XML is that libvirt refuses. */
export const defineDomain = async (uri: string, plan: DomainPlan, file: string): Promise<void> => {
  await using libvirt = await LibvirtConnection.open({ uri })
  await checkClashes(libvirt, plan)
  try {
    await libvirt.defineDomain(plan.xml)
  } catch (thrown) {
    const error = asVarveError(thrown)
    throw new VarveError(
      error.code,
      `${error.message}: all is restored; change ${file} and define it with "virsh -c ${uri} define ${shellQuoted(file)}"`,
      { details: error.details, cause: thrown },
    )
  }
}

/** The folders on the way to one that other users may not enter, such as the user of libvirt's QEMUs. */
export const closedFolders = async (folder: string): Promise<string[]> => {
  const closed: string[] = []
  for (let at = folder; ; at = path.dirname(at)) {
    if (((await stat(at)).mode & 0o001) === 0) closed.unshift(at)
    if (at === path.dirname(at)) return closed
  }
}
