// What libvirt has of a machine besides its disks, as it has it now: see agent/attachments/libvirt.ts.

import { asVarveError } from '../../../protocol/errors.ts'
import { libvirtAttachments } from '../../attachments/libvirt.ts'
import type { LibvirtCaller, LibvirtDomain } from '../../libvirt/types.ts'
import type { AttachmentSource } from '../driver.ts'

/** The domain as its next start has it, one that is gone when it is off as it runs; without passwords. Never rejects. */
export const domainAttachments = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  uri: string,
): Promise<readonly AttachmentSource[]> => {
  const autostart = await caller.autostart(domain).catch((thrown: unknown) => asVarveError(thrown).message)
  const untold = typeof autostart === 'string' ? [{ name: 'autostart', missing: autostart }] : []
  try {
    const inactive = await caller.isPersistent(domain)
    const xml = await caller.domainXml(domain, { inactive })
    return [...libvirtAttachments({ xml, autostart: typeof autostart === 'string' ? null : autostart, uri }), ...untold]
  } catch (thrown) {
    return [{ name: 'domain.xml', missing: asVarveError(thrown).message }, ...untold]
  }
}
