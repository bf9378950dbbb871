// A domain of libvirt that runs before it is defined: it is gone whenever its QEMU ends, so that nobody starts it on disks that
// are not complete and are not served; it is defined once they stand alone.
import { readFile, writeFile } from 'node:fs/promises'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { checkClashes, macsOf } from '../define/libvirt.ts'
import { socketOwner } from '../drivers/libvirt/scratch-folders.ts'
import { LIBVIRT_CODES } from '../libvirt/codes.ts'
import { LibvirtConnection } from '../libvirt/connection.ts'
import { isLibvirtError } from '../libvirt/errors.ts'
import type { LibvirtDomain } from '../libvirt/types.ts'
import { childrenOf, elementAt, readXml, textAt, textOf } from '../libvirt/xml.ts'
import { runningXml } from './domain-xml.ts'
import { mendOverlay } from './overlay.ts'
import type { InstantDomain, InstantRecord, Places } from './record.ts'

/** How libvirt names users and groups by their numbers. */
const LABEL = /^\+(\d{1,10}):\+(\d{1,10})$/u

/** The user that a libvirt's QEMUs run as, by what it says of itself; null where it does not change users. */
const labelled = (capabilities: string): InstantDomain['owner'] => {
  const host = elementAt(readXml(capabilities, { root: 'capabilities' }), 'host')
  const models = host === null ? [] : childrenOf(host, 'secmodel')
  const dac = models.find((model) => textAt(model, 'model') === 'dac')
  const labels = dac === undefined ? [] : childrenOf(dac, 'baselabel')
  for (const label of labels) {
    const [, uid, gid] = LABEL.exec(textOf(label)) ?? []
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) }
  }
  return null
}

/** The user that QEMU runs as, where it is another one than this. LIBVIRT_UNAVAILABLE. */
export const ownerOf = async (uri: string): Promise<InstantDomain['owner']> => {
  await using libvirt = await LibvirtConnection.open({ uri })
  const owner = labelled(await libvirt.capabilities()) ?? (await socketOwner(uri))
  return owner === null || owner.uid === process.geteuid?.() ? null : owner
}

/** The domain where it runs. */
export const runningDomain = async (
  libvirt: LibvirtConnection,
  { uuid }: InstantDomain,
): Promise<LibvirtDomain | null> => {
  try {
    const domain = await libvirt.domainByUuid(uuid)
    return domain.id === null ? null : domain
  } catch (thrown) {
    if (isLibvirtError(thrown, LIBVIRT_CODES.noDomain)) return null
    throw thrown
  }
}

const wayOut = (thrown: unknown, what: string): VarveError => {
  const { code, message, details } = asVarveError(thrown)
  return new VarveError(code, `${message}: ${what}`, { details, cause: thrown })
}

/** Starts it on disks that are served. EXISTS, LIBVIRT_ERROR, LIBVIRT_UNAVAILABLE, TARGET_IN_USE. */
export const startDomain = async (places: Places, record: InstantRecord, domain: InstantDomain): Promise<void> => {
  await using libvirt = await LibvirtConnection.open({ uri: domain.uri })
  if ((await runningDomain(libvirt, domain)) !== null)
    throw new VarveError('TARGET_IN_USE', `domain "${domain.name}" runs already`)
  const xml = await readFile(places.domain, 'utf8')
  await checkClashes(libvirt, { ...domain, macs: macsOf(xml) })
  for (const disk of record.disks) await mendOverlay(disk, places, record)
  try {
    await writeFile(places.ran, '')
    await libvirt.createDomain(runningXml(xml, record.disks, places.nbd))
  } catch (thrown) {
    throw wayOut(thrown, `change ${places.domain} and start it again, or "instant abandon" it`)
  }
}

/** Has libvirt keep it, now that its disks stand alone. EXISTS, LIBVIRT_ERROR, LIBVIRT_UNAVAILABLE. */
export const defineStanding = async ({ domain: file }: Places, domain: InstantDomain): Promise<void> => {
  await using libvirt = await LibvirtConnection.open({ uri: domain.uri })
  const xml = await readFile(file, 'utf8')
  try {
    await checkClashes(libvirt, { ...domain, macs: macsOf(xml) }, true)
    await libvirt.defineDomain(xml)
  } catch (thrown) {
    throw wayOut(thrown, `its disks stand alone; "instant finish" defines it once that is mended, by ${file}`)
  }
}

/** Ends it as if its power went; nothing where it does not run. */
export const destroyDomain = async (domain: InstantDomain): Promise<void> => {
  await using libvirt = await LibvirtConnection.open({ uri: domain.uri })
  const running = await runningDomain(libvirt, domain)
  if (running !== null) await libvirt.destroyDomain(running)
}
