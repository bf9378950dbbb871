// How a domain that does not run is read: its disks, as the driver `offline` takes them.

import type { Reader } from '../../attachments/reader.ts'
import type { MachineConfig } from '../driver.ts'
import { asOffline } from '../offline/machine.ts'
import { readDomain } from './domain-xml.ts'

/** Formats that are read while the machine is off. */
const READ_FORMATS: ReadonlySet<string> = new Set(['raw', 'qcow2'])

/**
 * The machine by the disks of its definition; null where one that is not left out has no file or device on this host. `reader`
 * is whose libvirt it is, who must be allowed to read them; null where it is not another one's.
 */
export const offlineMachine = (
  machine: MachineConfig,
  definition: string,
  reader: Reader | null,
): MachineConfig | null => {
  // nobody writes now what is refused while the domain runs, or the disk's lock is not free
  const { disks: held, refused } = readDomain(definition)
  const wanted = [...held, ...refused].filter(({ name }) => !machine.exclude.includes(name))
  const disks = wanted.flatMap(({ name, path, format }) =>
    path !== null && READ_FORMATS.has(format) ? [{ name, path, format }] : [],
  )
  if (disks.length === 0 || disks.length < wanted.length) return null
  return asOffline(machine, { disks, ...(reader === null ? {} : { reader }) })
}
