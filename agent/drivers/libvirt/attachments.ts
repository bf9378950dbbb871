// What libvirt has of a machine besides its disks: definition, firmware variables, whether it starts by itself.

import { asVarveError } from '../../../protocol/errors.ts'
import type { LibvirtCaller, LibvirtDomain } from '../../libvirt/types.ts'
import { attributeOf, elementAt, readXml, textOf } from '../../libvirt/xml.ts'
import type { AttachmentSource } from '../driver.ts'

const bytesOf = (text: string): Uint8Array => Buffer.from(text)

/** A source, or why it could not be had. */
const orMissing = async (name: string, source: () => Promise<AttachmentSource | null>): Promise<AttachmentSource[]> => {
  try {
    const found = await source()
    return found === null ? [] : [found]
  } catch (thrown) {
    return [{ name, missing: asVarveError(thrown).message }]
  }
}

/** The definition of the next start, of a transient domain that which runs; with passwords where this user may have them. */
const definition = async (caller: LibvirtCaller, domain: LibvirtDomain): Promise<string> => {
  const inactive = await caller.isPersistent(domain)
  try {
    return await caller.domainXml(domain, { inactive, secure: true })
  } catch {
    return await caller.domainXml(domain, { inactive })
  }
}

export const domainAttachments = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
): Promise<readonly AttachmentSource[]> => [
  ...(await orMissing('domain.xml', async () => ({
    name: 'domain.xml',
    bytes: bytesOf(await definition(caller, domain)),
  }))),
  ...(await orMissing('nvram', async () => {
    const nvram = elementAt(readXml(await caller.domainXml(domain), { root: 'domain' }), 'os/nvram')
    if (nvram === null) return null
    const path = attributeOf(elementAt(nvram, 'source'), 'file') ?? textOf(nvram)
    if (path !== '') return { name: 'nvram', path }
    return { name: 'nvram', missing: 'libvirt does not tell which file holds it' }
  })),
  ...(await orMissing('autostart', async () => ({
    name: 'autostart',
    bytes: bytesOf((await caller.autostart(domain)) ? 'yes\n' : 'no\n'),
  }))),
]
