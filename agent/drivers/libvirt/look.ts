// What a plan is made on: the domain's disks, their sizes, what is below them, and what the base's checkpoint has of them.

import type { LibvirtCaller, LibvirtDomain } from '../../libvirt/types.ts'
import type { BitmapState, MachineDisk } from '../../qmp/disks.ts'
import type { LeaseBase, LeaseRequest } from '../driver.ts'
import { libvirtCheckpointName } from '../checkpoint-names.ts'
import { DisksChanged, seeDisks, type SeenDisks } from '../seen-disks.ts'
import { findCheckpoint, readCheckpoint, recoverCheckpoint, type SeenCheckpoint } from './checkpoints.ts'
import { readDomain, type DomainDescription, type DomainDisk } from './domain-xml.ts'
import { canHoldBitmaps, imageSize } from './image-header.ts'

/** What libvirt or QEMU has said about disks when a backup could not begin. */
export interface Learned {
  /** Disks whose images cannot hold a bitmap. */
  readonly without: ReadonlySet<string>
  /** Disks whose bitmap of the base cannot be used. */
  readonly broken: ReadonlySet<string>
}

export interface DomainLook {
  readonly description: DomainDescription
  readonly seen: SeenDisks
  /** The base's checkpoint, by the name that it has here; null where no disk has it. */
  readonly base: SeenCheckpoint | null
}

interface Sized {
  readonly disk: DomainDisk
  readonly size: number
}

const sizesOf = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  disks: readonly DomainDisk[],
): Promise<readonly Sized[]> =>
  await Promise.all(disks.map(async (disk) => ({ disk, size: (await caller.blockInfo(domain, disk.name)).capacity })))

const holds = async ({ name, format, path }: DomainDisk, { without }: Learned): Promise<boolean> =>
  format === 'qcow2' && !without.has(name) && (path === null || (await canHoldBitmaps(path)) !== false)

/** The bitmap that the base's checkpoint has on one disk, as a decision takes it. */
const bitmapOf = (base: SeenCheckpoint | null, name: string, { broken }: Learned): readonly BitmapState[] => {
  const found = base?.disks.find((disk) => disk.name === name)
  if (base === null || found === undefined) return []
  const inconsistent = found.changedBytes === null || broken.has(name)
  const state = { granularity: 0, recording: !inconsistent, busy: false, persistent: true, inconsistent }
  return [{ ...state, name: base.name, count: found.changedBytes ?? 0 }]
}

/** The agents whose checkpoint the base may be, the one that made it first. */
const makersOf = ({ agentId, formerAgents }: LeaseRequest, base: LeaseBase): readonly string[] => [
  ...new Set([base.agent, agentId, ...formerAgents]),
]

/** The base's checkpoint; one that libvirt has no notes of is looked for in the images. */
const readBase = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  request: LeaseRequest,
  candidates: readonly string[],
): Promise<SeenCheckpoint | null> => {
  const { base } = request
  if (base === null || base.checkpoint === null) return null
  const names = [
    ...new Set(makersOf(request, base).map((agent) => libvirtCheckpointName(agent, base.checkpoint ?? ''))),
  ]
  for (const name of names) {
    const checkpoint = await findCheckpoint(caller, domain, name)
    if (checkpoint !== null) return await readCheckpoint(caller, checkpoint)
  }
  for (const name of names) {
    const recovered = await recoverCheckpoint(caller, domain, name, candidates)
    if (recovered !== null) return recovered
  }
  return null
}

/** The domain's disks now, without what the base has of them; DISK_UNSUPPORTED where two disks write one file. */
const lookAtDisks = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
): Promise<Pick<DomainLook, 'description'> & { readonly sized: readonly Sized[] }> => {
  const description = readDomain(await caller.domainXml(domain))
  return { description, sized: await sizesOf(caller, domain, description.disks) }
}

const machineDisk = async ({ disk, size }: Sized): Promise<MachineDisk> => ({
  name: disk.name,
  node: disk.index === null ? disk.fileName : `libvirt-${disk.index}-format`,
  qdev: '',
  size,
  format: disk.format,
  fileName: disk.fileName,
  dataFile: null,
  clusterBytes: null,
  backing: await Promise.all(
    disk.backing.map(async (image) => ({ ...image, size: await imageSize(image.format, image.fileName) })),
  ),
  // whose evidence then has the identity of the file itself: all bitmaps of a checkpoint have one name
  persistentBitmaps: false,
  bitmaps: [],
})

const seeAll = async (
  { description, sized }: Awaited<ReturnType<typeof lookAtDisks>>,
  capable: ReadonlySet<string>,
): Promise<SeenDisks> => {
  const disks = await Promise.all(sized.filter(({ size }) => size > 0).map(machineDisk))
  const empty = sized.filter(({ size }) => size === 0)
  const leftOut = [
    ...description.leftOut,
    ...empty.map(({ disk }) => ({ name: disk.name, reason: 'no-size' as const })),
  ]
  return await seeDisks(
    { disks, leftOut, refused: description.refused.map(({ name, why }) => ({ name, why })) },
    ({ name }) => capable.has(name),
  )
}

/** Looks at a domain that runs. May write libvirt's notes of the base's checkpoint anew. */
export const look = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  request: LeaseRequest,
  learned: Learned,
): Promise<DomainLook> => {
  const found = await lookAtDisks(caller, domain)
  const capable = new Set<string>()
  for (const { disk } of found.sized) if (await holds(disk, learned)) capable.add(disk.name)
  const base = await readBase(caller, domain, request, [...capable])
  const { disks, leftOut, refused = [] } = await seeAll(found, capable)
  const marked = disks.map((disk) => ({
    ...disk,
    bitmaps: disk.holdsBitmaps ? bitmapOf(base, disk.name, learned) : [],
  }))
  return { description: found.description, seen: { disks: marked, leftOut, refused }, base }
}

/** Everything about the disks that a plan depends on, to be compared with a later look. */
const signature = ({ disks, leftOut }: SeenDisks): string =>
  JSON.stringify([disks.map(({ name, node, size, evidence }) => [name, node, size, evidence]), leftOut])

/** Looks again once the backup pins the disks: a snapshot, a resize or another file in between would not be what was planned. */
export const refuseChange = async (
  caller: LibvirtCaller,
  domain: LibvirtDomain,
  machine: string,
  planned: SeenDisks,
): Promise<void> => {
  const now = await seeAll(await lookAtDisks(caller, domain), new Set())
  if (signature(now) !== signature(planned)) throw new DisksChanged(machine)
}
