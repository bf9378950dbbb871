// The definition of a domain while its disks are brought in: each reads what is not here yet from the export, and its guest is
// stopped, and told nothing, where a read or write fails. Pure.
import { element, firstWithin, readTree, replaceWithin, within, writeTree, type Tree } from '../define/xml-tree.ts'
import type { InstantDisk } from './record.ts'

/** Of a disk whose image is not complete. An empty chain behind the export: libvirt looks no further. */
const chainTo = (nbd: string, disk: string): Tree =>
  element(
    'backingStore',
    { type: 'network' },
    element('format', { type: 'raw' }),
    element('source', { protocol: 'nbd', name: disk }, element('host', { transport: 'unix', socket: nbd })),
    element('backingStore'),
  )

/**
 * `xml` is the definition as it is for good. The chain is written out, so that what a header names does not matter. CONFIG_INVALID
 * where it is no domain any more.
 */
export const runningXml = (xml: string, disks: readonly InstantDisk[], nbd: string): string => {
  const domain = readTree(xml, { root: 'domain', code: 'CONFIG_INVALID' })
  for (const devices of within(domain, 'devices'))
    for (const disk of within(devices, 'disk')) {
      const file = firstWithin(disk, 'source')?.attributes.get('file')
      const own = disks.find((one) => one.file === file)
      if (own === undefined) continue
      firstWithin(disk, 'driver')?.attributes.set('error_policy', 'stop').set('rerror_policy', 'stop')
      replaceWithin(disk, (part) => (part.name === 'backingStore' ? null : part))
      disk.children.push(own.alone ? element('backingStore') : chainTo(nbd, own.name))
    }
  return writeTree(domain)
}
