// Calls of libvirt that only tests make: domains are defined, started and ended, and told what their guests would do.
import type { LibvirtConnection } from '../../agent/libvirt/connection.ts'
import { QEMU_PROGRAM } from '../../agent/libvirt/message.ts'
import type { LibvirtDomain } from '../../agent/libvirt/types.ts'
import { readDomain, writeDomain } from '../../agent/libvirt/wire.ts'
import { XdrWriter, type XdrReader } from '../../agent/libvirt/xdr.ts'

const nothing = (): void => undefined
const onDomain = (domain: LibvirtDomain): XdrWriter => writeDomain(new XdrWriter(), domain)

/** The bits for a domain that goes with all that libvirt notes of it; its NVRAM file and TPM state too. */
const UNDEFINE_ALL = 1 | 2 | 4 | 16

/** The bit of a command for people instead of JSON. */
const HMP = 1

export const defineDomain = (libvirt: LibvirtConnection, xml: string): Promise<LibvirtDomain> =>
  libvirt.call({ name: 'define', procedure: 350, args: new XdrWriter().string(xml).u32(0), read: readDomain })

/** Starts a domain that is not defined and will be gone after its end. */
export const createTransient = (libvirt: LibvirtConnection, xml: string): Promise<LibvirtDomain> =>
  libvirt.call({ name: 'create', procedure: 10, args: new XdrWriter().string(xml).u32(0), read: readDomain })

/** With `paused` its processors stand still. */
export const startDomain = (
  libvirt: LibvirtConnection,
  domain: LibvirtDomain,
  paused = false,
): Promise<LibvirtDomain> =>
  libvirt.call({ name: 'start', procedure: 196, args: onDomain(domain).u32(paused ? 1 : 0), read: readDomain })

export const destroyDomain = (libvirt: LibvirtConnection, domain: LibvirtDomain): Promise<void> =>
  libvirt.call({ name: 'destroy', procedure: 12, args: onDomain(domain), read: nothing })

export const undefineDomain = (libvirt: LibvirtConnection, domain: LibvirtDomain): Promise<void> =>
  libvirt.call({ name: 'undefine', procedure: 231, args: onDomain(domain).u32(UNDEFINE_ALL), read: nothing })

export const suspendDomain = (libvirt: LibvirtConnection, domain: LibvirtDomain): Promise<void> =>
  libvirt.call({ name: 'suspend', procedure: 34, args: onDomain(domain), read: nothing })

export const setAutostart = (libvirt: LibvirtConnection, domain: LibvirtDomain, autostart: boolean): Promise<void> =>
  libvirt.call({ name: 'autostart', procedure: 29, args: onDomain(domain).i32(autostart ? 1 : 0), read: nothing })

/** Sets the size of a running domain's disk, in bytes. */
export const resizeDisk = (
  libvirt: LibvirtConnection,
  domain: LibvirtDomain,
  target: string,
  size: bigint,
): Promise<void> => {
  const inBytes = 1
  const args = onDomain(domain).string(target).u64(size).u32(inBytes)
  return libvirt.call({ name: 'blockresize', procedure: 251, args, read: nothing })
}

/** Makes a snapshot from libvirt's XML; flags as libvirt numbers them (16: of the disks alone). */
export const createSnapshot = (
  libvirt: LibvirtConnection,
  domain: LibvirtDomain,
  xml: string,
  flags = 0,
): Promise<void> => {
  const read = (reader: XdrReader): void => {
    reader.string()
    readDomain(reader)
  }
  return libvirt.call({ name: 'snapshot', procedure: 185, args: onDomain(domain).string(xml).u32(flags), read })
}

/** Merges what lies below a disk's image into it. */
export const blockPull = (libvirt: LibvirtConnection, domain: LibvirtDomain, target: string): Promise<void> => {
  const args = onDomain(domain).string(target).u64(0n).u32(0)
  return libvirt.call({ name: 'blockpull', procedure: 240, args, read: nothing })
}

/** Has libvirt tell when a disk's image is written beyond a place. */
export const setThreshold = (
  libvirt: LibvirtConnection,
  domain: LibvirtDomain,
  target: string,
  threshold: bigint,
): Promise<void> => {
  const args = onDomain(domain).string(target).u64(threshold).u32(0)
  return libvirt.call({ name: 'threshold', procedure: 386, args, read: nothing })
}

/** Ends a running domain with its memory kept for the next start. */
export const managedSave = (libvirt: LibvirtConnection, domain: LibvirtDomain): Promise<void> =>
  libvirt.call({ name: 'managedsave', procedure: 182, args: onDomain(domain).u32(0), read: nothing })

const monitor = (libvirt: LibvirtConnection, domain: LibvirtDomain, line: string, flags: number): Promise<string> => {
  const args = onDomain(domain).string(line).u32(flags)
  return libvirt.call({
    name: 'monitor command',
    program: QEMU_PROGRAM,
    procedure: 1,
    args,
    read: (reader) => reader.string(),
  })
}

/** A command of QEMU's monitor for people, behind libvirt's back as only a test may. */
export const humanCommand = (libvirt: LibvirtConnection, domain: LibvirtDomain, line: string): Promise<string> =>
  monitor(libvirt, domain, line, HMP)

/** A QMP command, behind libvirt's back as only a test may; what QEMU returned. */
export const qmpCommand = async (
  libvirt: LibvirtConnection,
  domain: LibvirtDomain,
  execute: string,
  args: Record<string, unknown> = {},
): Promise<any> => {
  const answer = JSON.parse(await monitor(libvirt, domain, JSON.stringify({ execute, arguments: args }), 0))
  if (answer.error !== undefined) throw new Error(`${execute}: ${answer.error.desc}`)
  return answer.return
}
