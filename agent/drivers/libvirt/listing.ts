// Lists the checkpoints of a domain: libvirt's own list, and Varve's, which are not in it between two backups.

import * as v from 'valibot'
import type { Checkpoint, CheckpointList } from '../../../protocol/methods.ts'
import { timeMs as timeSchema } from '../../../protocol/schemas.ts'
import { LIBVIRT_CODES } from '../../libvirt/codes.ts'
import { isLibvirtError } from '../../libvirt/errors.ts'
import type { LibvirtCaller, LibvirtCheckpoint, LibvirtDomain } from '../../libvirt/types.ts'
import {
  checkpointOf,
  groupBitmaps,
  limitCheckpoints,
  missingOn,
  type CheckpointDisk,
  type FoundBitmap,
} from '../checkpoint-list.ts'
import { readerOfLibvirt } from '../../attachments/reader.ts'
import type { MachineConfig } from '../driver.ts'
import { keysOf as offlineKeysOf } from '../offline/keys.ts'
import { storedBitmaps, storedOn } from '../offline/stored-bitmaps.ts'
import { runToolAs, type RunTool } from '../offline/tools.ts'
import { hideCheckpoint, noteCheckpoint, readCheckpoint, readNoted, type SeenCheckpoint } from './checkpoints.ts'
import { readDomain, type DomainDisk } from './domain-xml.ts'
import type { LibvirtHost } from './host.ts'
import { keysOf } from './keys.ts'
import { VARVE_CHECKPOINT } from './names.ts'
import { machineOff } from './run-state.ts'
import { offlineMachine } from './when-off.ts'

/** Most checkpoints that libvirt is asked about one by one; further ones are counted. */
const ASKED_MAX = 256

interface Listing {
  readonly host: Pick<LibvirtHost, 'agents' | 'notes'>
  readonly caller: LibvirtCaller
  readonly domain: LibvirtDomain
  readonly machine: MachineConfig
}

/** A checkpoint as libvirt has it; null where it was removed just now. */
const readListed = async (
  caller: LibvirtCaller,
  checkpoint: LibvirtCheckpoint,
  read: typeof readCheckpoint = readCheckpoint,
): Promise<SeenCheckpoint | null> => {
  try {
    return await read(caller, checkpoint)
  } catch (error) {
    if (isLibvirtError(error, LIBVIRT_CODES.noCheckpoint)) return null
    throw error
  }
}

/** Has libvirt note a checkpoint for as long as it takes to read what it records on these disks. */
const readHidden = async (
  { caller, domain }: Listing,
  name: string,
  disks: readonly string[],
): Promise<SeenCheckpoint> => {
  const about = { name, parent: null, createdAt: Math.floor(Date.now() / 1000) }
  const checkpoint = await noteCheckpoint(caller, domain, { ...about, disks })
  try {
    return await readCheckpoint(caller, checkpoint)
  } finally {
    await hideCheckpoint(caller, checkpoint)
  }
}

/** Why libvirt gives no size of a bitmap: the image has none of this name, or a broken one. */
type Unsized = (disk: string, name: string) => CheckpointDisk['health']

/** Looks into the images of these disks, beside the machine that has them open. */
const lookInto = async (run: RunTool, disks: readonly DomainDisk[], names: ReadonlySet<string>): Promise<Unsized> => {
  const stored = new Map<string, readonly FoundBitmap[]>()
  for (const { name, path, format } of disks) {
    if (path === null || format !== 'qcow2' || !names.has(name)) continue
    const found = await storedBitmaps(run, { name, path, format, named: true }, { shared: true }).catch(() => null)
    if (found !== null) stored.set(name, found)
  }
  return (disk, name) => {
    const found = stored.get(disk)
    if (found === undefined) return 'unknown'
    const bitmap = found.find((one) => one.name === name)
    if (bitmap === undefined) return 'missing'
    return bitmap.health === 'disabled' ? 'disabled' : 'inconsistent'
  }
}

/** What libvirt says of a checkpoint, besides its disks; null for what is not shown. */
const headOf = (seen: SeenCheckpoint, agents: readonly string[]): Omit<Checkpoint, 'disks'> | null => {
  const about = checkpointOf(seen.name, agents)
  if (about === null) return null
  // Varve's are noted anew each time
  const timeMs = about.point === null ? seen.createdAt * 1000 : null
  return { ...about, parent: seen.parent, timeMs: v.is(timeSchema, timeMs) ? timeMs : null }
}

const isWanted = ({ exclude }: MachineConfig, { name, format }: Pick<DomainDisk, 'format' | 'name'>): boolean =>
  format === 'qcow2' && !exclude.includes(name)

/** Varve's checkpoints that libvirt has no notes of. */
const hiddenNames = async ({ host, domain }: Listing, listed: readonly LibvirtCheckpoint[]): Promise<string[]> => {
  const shown = new Set(listed.map(({ name }) => name))
  return (await host.notes.of(domain.uuid)).filter((name) => VARVE_CHECKPOINT.test(name) && !shown.has(name))
}

/**
 * Of a domain that runs. With `mayNote` libvirt is told of Varve's checkpoints for a moment, so that it says what they record;
 * without, as while a backup runs, just which there are is known.
 */
export const listRunning = async (listing: Listing & { readonly mayNote: boolean }): Promise<CheckpointList> => {
  const { host, caller, domain, machine, mayNote } = listing
  const { disks } = readDomain(await caller.domainXml(domain))
  const capable = disks.filter(({ format }) => format === 'qcow2').map(({ name }) => name)
  const expected = disks.filter((disk) => isWanted(machine, disk)).map(({ name }) => name)
  const listed = await caller.listCheckpoints(domain)
  const hidden = await hiddenNames(listing, listed)
  // the newest of the notes are the last ones
  const asked = mayNote && capable.length > 0 ? hidden.slice(-ASKED_MAX) : []
  // libvirt 9 crashes where a checkpoint is removed while its size is asked for, as the begin and end of a lease remove some
  const read = mayNote ? readCheckpoint : readNoted
  const seen: SeenCheckpoint[] = []
  for (const name of asked) seen.push(await readHidden(listing, name, capable))
  for (const checkpoint of listed.slice(0, ASKED_MAX)) {
    const found = await readListed(caller, checkpoint, read)
    if (found !== null) seen.push(found)
  }
  const unsized = seen.flatMap((one) => one.disks.filter(({ changedBytes }) => changedBytes === null))
  const run = runToolAs(await readerOfLibvirt(keysOf(machine).uri))
  const why: Unsized = mayNote ? await lookInto(run, disks, new Set(unsized.map(({ name }) => name))) : () => 'unknown'
  const shown = seen.flatMap((one): Checkpoint[] => {
    const head = headOf(one, host.agents)
    if (head === null) return []
    const own = one.disks.map(({ name, changedBytes: bytes }): CheckpointDisk =>
      bytes === null ? { name, bytes, health: why(name, one.name) } : { name, bytes, health: 'whole' },
    )
    const has = new Set(own.map(({ name }) => name))
    const without = head.point === null ? [] : expected.filter((name) => !has.has(name)).map(missingOn)
    return [{ ...head, disks: [...own, ...without] }]
  })
  const unknown = mayNote
    ? []
    : groupBitmaps(
        hidden.flatMap((name) => capable.map((disk): FoundBitmap => ({ name, disk, bytes: null, health: 'unknown' }))),
        { agents: host.agents, expected: [] },
      )
  const { checkpoints, omitted } = limitCheckpoints([...shown, ...unknown])
  const left = Math.max(0, listed.length - ASKED_MAX) + (mayNote ? hidden.length - asked.length : 0)
  return { checkpoints, omitted: omitted + left }
}

/** Of a domain that is off, by its images; what libvirt has noted of others' says only which they are. MACHINE_OFF. */
export const listOff = async ({ host, caller, domain, machine }: Listing): Promise<CheckpointList> => {
  const definition = await caller.domainXml(domain, { inactive: true })
  // what another user's libvirt names is looked into with that user's rights
  const reader = await readerOfLibvirt(keysOf(machine).uri)
  const off = offlineMachine({ ...machine, exclude: [] }, definition, reader)
  if (off === null) throw machineOff(machine.name)
  const { disks } = offlineKeysOf(off)
  const expected = disks.filter((disk) => isWanted(machine, disk)).map(({ name }) => name)
  const stored = groupBitmaps(await storedOn(runToolAs(reader), disks), { agents: host.agents, expected })
  const noted = new Map<string, Omit<Checkpoint, 'disks'>>()
  for (const checkpoint of (await caller.listCheckpoints(domain)).slice(0, ASKED_MAX)) {
    const { name } = checkpoint
    const seen = await readListed(caller, checkpoint, readNoted)
    const head = seen === null ? null : headOf(seen, host.agents)
    if (seen === null || head === null) continue
    noted.set(name, head)
    if (!stored.some((one) => one.name === name))
      stored.push({ ...head, disks: seen.disks.map((disk) => missingOn(disk.name)) })
  }
  return limitCheckpoints(stored.map((one) => ({ ...one, ...noted.get(one.name) })))
}
