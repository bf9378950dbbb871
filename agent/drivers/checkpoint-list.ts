// A machine's checkpoints as they are shown: its bitmaps by the restore point that they belong to, within limits. Pure.

import * as v from 'valibot'
import { CHECKPOINT_DISKS_MAX, CHECKPOINT_NAME_CHARS_MAX, CHECKPOINTS_MAX, DISKS_MAX } from '../../protocol/limits.ts'
import type { Checkpoint, CheckpointList } from '../../protocol/methods.ts'
import { diskName, uuid } from '../../protocol/schemas.ts'
import { agentTag, agentTagOf, libvirtCheckpointName, parseCheckpoint } from './checkpoint-names.ts'

export type CheckpointDisk = Checkpoint['disks'][number]

/** A bitmap of a disk. */
export interface FoundBitmap extends Omit<CheckpointDisk, 'name'> {
  readonly name: string
  readonly disk: string
}

/** What the name of a checkpoint, or of one of its bitmaps, says; `name` is the checkpoint's. */
export const checkpointOf = (
  name: string,
  agents: readonly string[],
): Pick<Checkpoint, 'name' | 'own' | 'point'> | null => {
  const tag = agentTagOf(name)
  const part = tag === null ? null : parseCheckpoint(tag, name)
  if (tag === null || part === null) return { name, point: null, own: false }
  // what is beside a checkpoint
  if (part.kind !== 'cp') return null
  const point = v.is(uuid, part.lease) ? part.lease.toLowerCase() : null
  return { name: libvirtCheckpointName(tag, part.lease), point, own: agents.some((agent) => agentTag(agent) === tag) }
}

/** A checkpoint that records nothing on the disk. */
export const missingOn = (name: string): CheckpointDisk => ({ name, bytes: null, health: 'missing' })

/**
 * Groups bitmaps into checkpoints. A disk of `expected` without the bitmap of a checkpoint of Varve's has it missing: the next
 * backup reads it in full.
 */
export const groupBitmaps = (
  bitmaps: readonly FoundBitmap[],
  { agents, expected }: { readonly agents: readonly string[]; readonly expected: readonly string[] },
): Checkpoint[] => {
  const groups = new Map<string, Checkpoint>()
  for (const { name, disk, bytes, health } of bitmaps) {
    const about = checkpointOf(name, agents)
    if (about === null) continue
    const known = groups.get(about.name) ?? { ...about, parent: null, timeMs: null, disks: [] }
    groups.set(about.name, { ...known, disks: [...known.disks, { name: disk, bytes, health }] })
  }
  return [...groups.values()].map((checkpoint) => {
    if (checkpoint.point === null) return checkpoint
    const has = new Set(checkpoint.disks.map(({ name }) => name))
    const missing = expected.filter((name) => !has.has(name)).map(missingOn)
    return { ...checkpoint, disks: [...checkpoint.disks, ...missing] }
  })
}

/** A name that the protocol takes: others may have given theirs any characters. */
const printable = (text: string, limit: number): string =>
  text.replaceAll(/\p{Cc}/gu, '\u{FFFD}').slice(0, limit) || '?'

const rank = ({ own, point }: Checkpoint): number => (own ? 0 : point === null ? 2 : 1)

const fitting = (checkpoint: Checkpoint): Checkpoint => ({
  ...checkpoint,
  name: printable(checkpoint.name, CHECKPOINT_NAME_CHARS_MAX),
  parent: checkpoint.parent === null ? null : printable(checkpoint.parent, CHECKPOINT_NAME_CHARS_MAX),
  disks: checkpoint.disks
    .slice(0, DISKS_MAX)
    .map((disk) => (v.is(diskName, disk.name) ? disk : { ...disk, name: printable(disk.name, 255) })),
})

/** The list as it is answered: the agent's own first, then those of other agents, then other programs'. */
export const limitCheckpoints = (checkpoints: readonly Checkpoint[]): CheckpointList => {
  const shown: Checkpoint[] = []
  let disks = 0
  for (const checkpoint of checkpoints.toSorted((one, other) => rank(one) - rank(other)).map(fitting)) {
    disks += checkpoint.disks.length
    if (shown.length === CHECKPOINTS_MAX || disks > CHECKPOINT_DISKS_MAX) break
    shown.push(checkpoint)
  }
  return { checkpoints: shown, omitted: checkpoints.length - shown.length }
}
