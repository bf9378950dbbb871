// Removes what any agent has in a domain: its backup and its checkpoints.

import { rm } from 'node:fs/promises'
import { VarveError } from '../../../protocol/errors.ts'
import type { Forgotten } from '../../../protocol/methods.ts'
import { readerOfLibvirt } from '../../attachments/reader.ts'
import { isLibvirtError } from '../../libvirt/errors.ts'
import type { LibvirtCaller, LibvirtDomain } from '../../libvirt/types.ts'
import {
  findCheckpoint,
  hideCheckpoint,
  readCheckpoint,
  recoverCheckpoint,
  removeCheckpoint,
  removeDisks,
} from './checkpoints.ts'
import type { Machine } from '../driver.ts'
import { forgetDisks } from '../offline/forget.ts'
import { keysOf as offlineKeysOf } from '../offline/keys.ts'
import { runToolAs } from '../offline/tools.ts'
import { readDomain } from './domain-xml.ts'
import { bitmapDisks } from './finish.ts'
import type { LibvirtHost } from './host.ts'
import { keysOf } from './keys.ts'
import { endBackup, readBackup } from './job.ts'
import { socketOwner, VARVE_CHECKPOINT } from './names.ts'
import { machineOff } from './run-state.ts'
import { offlineMachine } from './when-off.ts'

/**
 * Removes Varve's checkpoints from a domain, or from one of its disks; without `disk` also a backup that is left. What libvirt
 * refuses to remove is in `left`, with its reason. NOT_FOUND when there is no such disk.
 */
export const forgetDomain = async (
  { notes }: Pick<LibvirtHost, 'notes'>,
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  disk: string | null,
): Promise<Forgotten> => {
  const { disks } = readDomain(await caller.domainXml(domain))
  if (disk !== null && !disks.some(({ name }) => name === disk)) {
    const names = disks.map(({ name }) => name).join(', ')
    throw new VarveError('NOT_FOUND', `there is no disk "${disk}"; the machine has: ${names || 'none'}`)
  }
  const backup = disk === null ? await readBackup(caller, domain) : null
  const owner = backup === null ? null : socketOwner(backup.socketPath, [])
  if (backup !== null && owner !== null) {
    await endBackup(caller, domain, backup.socketPath)
    await rm(owner.folder, { recursive: true, force: true })
  }
  const removed: Forgotten['removed'] = []
  const left: Forgotten['left'] = []
  const listed = (await caller.listCheckpoints(domain)).map(({ name }) => name)
  const names = new Set([...listed, ...(await notes.of(domain.uuid))].filter((name) => VARVE_CHECKPOINT.test(name)))
  const capable = await bitmapDisks(caller, domain)
  for (const bitmap of names) {
    const noted = await findCheckpoint(caller, domain, bitmap)
    const seen =
      noted === null ? await recoverCheckpoint(caller, domain, bitmap, capable) : await readCheckpoint(caller, noted)
    const nodes = (seen?.disks ?? []).map(({ name }) => name).filter((name) => disk === null || name === disk)
    try {
      const checkpoint = await findCheckpoint(caller, domain, bitmap)
      if (checkpoint !== null && disk === null) await removeCheckpoint(caller, checkpoint)
      if (checkpoint !== null && disk !== null) await removeDisks(caller, checkpoint, new Set([disk]))
      const kept = await findCheckpoint(caller, domain, bitmap)
      if (kept === null) await notes.remove(domain.uuid, bitmap)
      else await hideCheckpoint(caller, kept)
      removed.push(...nodes.map((node) => ({ node, bitmap })))
    } catch (error) {
      if (!isLibvirtError(error)) throw error
      const reason = String(error.details['message'] ?? error.message)
      const fileOf = (node: string): string => disks.find(({ name }) => name === node)?.fileName ?? ''
      left.push(...nodes.map((node) => ({ node, bitmap, file: fileOf(node), reason })))
    }
  }
  return { removed, left }
}

/** The same for a domain that does not run: `qemu-img` takes the bitmaps from its images. MACHINE_OFF where they are not here. */
export const forgetOff = async (
  { notes }: Pick<LibvirtHost, 'notes'>,
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  machine: Machine,
  disk: string | null,
): Promise<Forgotten> => {
  const definition = await caller.domainXml(domain, { inactive: true })
  const reader = await readerOfLibvirt(keysOf(machine).uri)
  const off = offlineMachine({ ...machine, exclude: [], attach: [] }, definition, reader)
  if (off === null) throw machineOff(machine.name)
  // what another user's libvirt names is changed with that user's rights
  const hands = { run: runToolAs(reader), act: <T>(action: () => Promise<T>): Promise<T> => action() }
  const forgotten = await forgetDisks(hands, offlineKeysOf(off).disks, disk)
  if (disk !== null || forgotten.left.length > 0) return forgotten
  for (const checkpoint of await caller.listCheckpoints(domain))
    if (VARVE_CHECKPOINT.test(checkpoint.name)) await hideCheckpoint(caller, checkpoint)
  for (const name of await notes.of(domain.uuid)) await notes.remove(domain.uuid, name)
  return forgotten
}
