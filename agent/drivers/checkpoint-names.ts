// Names of a checkpoint's bitmaps, by which every driver recognises them.
//
//   varve-<agent>-cp-<lease>-<i>      checkpoint bitmap of disk i
//   varve-<agent>-cp-<lease>          checkpoint of libvirt, and so the bitmap of each of its disks
//   varve-<agent>-size-<lease>-<i>    beside it, of mode push: has the bit of the disk's end (older agents had others); removed
//                                     with it
//
// A checkpoint's bitmaps are in the images they describe, so their numbers, and not the disks' current names, show which
// image of the restore point a disk continues. libvirt's have no number: there the evidence of a disk shows it.
//
// <agent> is the last eight letters or digits of the agent's id: the first ones of time-ordered ids are the same for
// agents that were enrolled together.

import { VarveError } from '../../protocol/errors.ts'

const AGENT_TAG_CHARS = 8

/** The last letters and digits of an id. */
export const tail = (id: string, chars: number): string =>
  id
    .toLowerCase()
    .replaceAll(/[^0-9a-z]/g, '')
    .slice(-chars)

/** The agent's part of every name. */
export const agentTag = (agentId: string): string => {
  const tag = tail(agentId, AGENT_TAG_CHARS)
  if (tag.length < AGENT_TAG_CHARS) {
    throw new VarveError('PARAMS_INVALID', `an agent id has at least ${AGENT_TAG_CHARS} letters or digits`)
  }
  return tag
}

/** What every name of an agent begins with. */
export const ownPrefix = (agentId: string): string => `varve-${agentTag(agentId)}`

/** The checkpoint bitmap of a lease's disk. */
export const checkpointName = (agentId: string, leaseId: string, index: number): string =>
  `${ownPrefix(agentId)}-cp-${leaseId}-${index}`

/** The bitmap beside a numbered checkpoint bitmap that shows whether its disk was ever smaller. */
export const sizeMarkOf = (checkpoint: string): string => checkpoint.replace(/^(varve-[0-9a-z]{8})-cp-/u, '$1-size-')

/** The checkpoint of a lease in libvirt, which calls the bitmaps of all disks so. */
export const libvirtCheckpointName = (agentId: string, leaseId: string): string => `${ownPrefix(agentId)}-cp-${leaseId}`

const ANY_OWN = /^varve-([0-9a-z]{8})-cp-/

/** The agent's part of the name of any agent's checkpoint, or of its bitmaps; null for every other name. */
export const agentTagOf = (name: string): string | null => ANY_OWN.exec(name)?.[1] ?? null

/** The checkpoint that a bitmap is part of. */
export interface CheckpointPart {
  readonly kind: 'cp' | 'size'
  readonly lease: string
  /** Null in libvirt's names. */
  readonly index: number | null
}

const NUMBERED = /^(cp|size)-(.+)-(0|[1-9][0-9]{0,3})$/
const UNNUMBERED = /^cp-([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/

/** Reads the name of a checkpoint's bitmap of this agent; null for every other bitmap. */
export const parseCheckpoint = (agentId: string, name: string): CheckpointPart | null => {
  const own = `${ownPrefix(agentId)}-`
  if (!name.startsWith(own)) return null
  const unnumbered = UNNUMBERED.exec(name.slice(own.length))
  if (unnumbered !== null) return { kind: 'cp', lease: unnumbered[1]!, index: null }
  const parts = NUMBERED.exec(name.slice(own.length))
  if (parts === null) return null
  return { kind: parts[1] === 'cp' ? 'cp' : 'size', lease: parts[2]!, index: Number(parts[3]) }
}
