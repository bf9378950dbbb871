// The one backup that runs on a domain: whose it is, and how it is ended.

import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../../protocol/errors.ts'
import { LIBVIRT_CODES } from '../../libvirt/codes.ts'
import { isLibvirtError } from '../../libvirt/errors.ts'
import type { LibvirtCaller, LibvirtDomain } from '../../libvirt/types.ts'
import { ClosedDoor, HANDSHAKES_LIMIT_MS } from '../nbd-door.ts'
import { attributeOf, childrenOf, elementAt, readXml } from '../../libvirt/xml.ts'

/** How long the end of a backup may take, in milliseconds. */
const END_LIMIT_MS = 30_000

/** Pause between two looks at a backup that is ending, in milliseconds. */
const END_PAUSE_MS = 20

/** A running backup. */
export interface RunningBackup {
  /** Path of its NBD server's socket; empty for one that has none. */
  readonly socketPath: string
  /** Names of its disks' exports. */
  readonly exports: readonly string[]
}

/** The backup that runs on the domain, whoever began it; null without one. */
export const readBackup = async (caller: LibvirtCaller, domain: LibvirtDomain): Promise<RunningBackup | null> => {
  let text: string
  try {
    text = await caller.backupXml(domain)
  } catch (error) {
    if (isLibvirtError(error, LIBVIRT_CODES.noBackup, LIBVIRT_CODES.operationInvalid)) return null
    throw error
  }
  const root = readXml(text, { root: 'domainbackup' })
  const disks = elementAt(root, 'disks')
  return {
    socketPath: attributeOf(elementAt(root, 'server'), 'socket') ?? '',
    exports: (disks === null ? [] : childrenOf(disks, 'disk')).flatMap((disk) => attributeOf(disk, 'exportname') ?? []),
  }
}

/**
 * Ends the domain's backup if its socket is this one, and waits until libvirt has removed it; false where there is none.
 * libvirt has QEMU end the NBD server, which nobody may be connecting to then: clients are waited for `handshakesMs` at most.
 */
export const endBackup = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  socketPath: string,
  handshakesMs = HANDSHAKES_LIMIT_MS,
): Promise<boolean> => {
  const deadlineMs = performance.now() + END_LIMIT_MS
  let door: ClosedDoor | null = null
  let found = false
  for (let aborted = false; (await readBackup(caller, domain))?.socketPath === socketPath; found = true) {
    if (!aborted) {
      door ??= await ClosedDoor.close(socketPath)
      await door.clear(handshakesMs)
      try {
        await caller.abortJob(domain)
        aborted = true
      } catch (error) {
        // it has ended by itself, or libvirt is just ending it
        if (!isLibvirtError(error)) throw error
      }
    }
    if (performance.now() > deadlineMs) {
      throw new VarveError('LIBVIRT_TIMEOUT', `libvirt did not end the backup of ${domain.name} in ${END_LIMIT_MS} ms`)
    }
    await sleep(END_PAUSE_MS)
  }
  return found
}
