// The private folders of a lease, for the user that QEMU runs as.

import { chown, mkdir, stat } from 'node:fs/promises'
import { parseLibvirtUri } from '../../libvirt/uri.ts'
import type { DomainDescription } from './domain-xml.ts'
import type { LibvirtEntry } from './entry.ts'
import { keysOf } from './keys.ts'

type Owner = NonNullable<DomainDescription['owner']>

/** Who owns a session's socket runs its machines too. */
export const socketOwner = async (uri: string): Promise<Owner | null> => {
  for (const socket of parseLibvirtUri(uri).sockets) {
    try {
      const { uid, gid } = await stat(socket)
      return { uid, gid }
    } catch {
      // the daemon listens at another one
    }
  }
  return null
}

/**
 * Makes the lease's folders: libvirt makes the scratch images in one, QEMU its socket in the other. Root gives them to QEMU's
 * user. Another user cannot; access lists of the folders around them can let QEMU's user in, unless the mode keeps the group
 * out, which is the most that such lists may grant.
 */
export const makeScratch = async (
  entry: Pick<LibvirtEntry, 'scratchFolder' | 'socketFolder' | 'machine'>,
  described: Owner | null,
): Promise<void> => {
  const owner = described ?? (await socketOwner(keysOf(entry.machine).uri))
  const self = process.geteuid?.() ?? 0
  const shared = self !== 0 && owner !== null && owner.uid !== self
  for (const folder of [entry.scratchFolder, entry.socketFolder]) {
    await mkdir(folder, { recursive: false, mode: shared ? 0o770 : 0o700 })
    if (self === 0 && owner !== null && owner.uid !== 0) await chown(folder, owner.uid, owner.gid)
  }
}
