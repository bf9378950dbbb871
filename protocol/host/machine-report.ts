// A machine for people: how it is now, and which of its checkpoints were removed.
import type { Checkpoint, CheckpointList, Forgotten, MachineStatus } from '../methods.ts'
import { VarveError } from '../errors.ts'
import { utcText } from './instant.ts'
import { sizeText } from './size.ts'

export const statusLines = ({
  name,
  problem,
  hypervisor,
  runState,
  lease,
  target,
  disks,
  leftOut,
}: MachineStatus): string[] => {
  const held =
    target === null ? `backup ${lease?.slice(0, 8)} running` : `lease ${lease?.slice(0, 8)} held by target ${target}`
  const running = lease === null ? '' : `, ${held}`
  return [
    `${name}: ${problem ?? `${hypervisor}, ${runState}${running}`}`,
    ...disks.map((disk) => `  ${disk.name}: ${sizeText(disk.size)} ${disk.format}`),
    ...leftOut.map((disk) => `  ${disk.name}: left out (${disk.reason})`),
  ]
}

/** What could not be removed, as a sentence for each bitmap. */
export const leftSentences = ({ left }: Forgotten): string[] =>
  left.map(({ bitmap, node, file, reason }) => `${bitmap} stays on node ${node} (${file}): ${reason}`)

/** What became of the checkpoints of a machine, or of one disk of it. */
export const forgottenLines = (machine: string, disk: string | null, forgotten: Forgotten): string[] => {
  const { removed, left } = forgotten
  const next = removed.length > 0 ? [`The next backup of ${machine} reads ${disk ?? 'its disks'} in full.`] : []
  return [
    ...removed.map(({ bitmap, node }) => `removed ${bitmap} from node ${node}`),
    ...leftSentences(forgotten),
    ...next,
    ...(removed.length + left.length === 0 ? [`${machine} has no checkpoint of Varve's.`] : []),
  ]
}

/** The error of a removal that QEMU refused in part; null where nothing is left. */
export const leftError = ({ left }: Forgotten): VarveError | null => {
  if (left.length === 0) return null
  const count = left.length === 1 ? 'one bitmap' : `${left.length} bitmaps`
  const way = 'a backing file becomes writable once its overlay is committed, or with the machine off'
  return new VarveError('QMP_ERROR', `QEMU refused to remove ${count}; ${way}`)
}

const HEALTH_TEXT: Readonly<Record<Checkpoint['disks'][number]['health'], string>> = {
  whole: 'whole; its size is known while the machine runs',
  inconsistent: 'inconsistent: an unclean end broke it',
  disabled: 'disabled: it does not record',
  missing: 'missing',
  unknown: 'not known while a backup or another job has the machine',
}

/** `isForeign`: it is another program's, on which no backup of Varve's depends. */
const diskText = ({ name, bytes, health }: Checkpoint['disks'][number], isForeign: boolean): string => {
  if (bytes !== null) return `${name}: whole, ${sizeText(bytes)} changed since`
  const isUsable = health === 'whole' || health === 'unknown'
  return `${name}: ${HEALTH_TEXT[health]}${isUsable || isForeign ? '' : '; the next backup reads the disk in full'}`
}

const checkpointTitle = ({ name, point, own, timeMs }: Checkpoint): string => {
  if (point !== null) return `restore point ${point}${own ? '' : ' of another agent'}`
  return `${name} (not Varve's)${timeMs === null ? '' : `, ${utcText(timeMs)} UTC`}`
}

/** The checkpoints of a machine as a tree, each with what it records on each disk. */
export const checkpointLines = (machine: string, { checkpoints, omitted }: CheckpointList): string[] => {
  if (checkpoints.length === 0 && omitted === 0) return [`${machine} has no checkpoint.`]
  const names = new Set(checkpoints.map(({ name }) => name))
  const children = Map.groupBy(checkpoints, ({ parent }) => (parent !== null && names.has(parent) ? parent : null))
  const lines: string[] = []
  const shown = new Set<Checkpoint>()
  // a stack and not a recursion: chains may be as long as the list
  const add = (roots: readonly Checkpoint[]): void => {
    const waiting = roots.map((checkpoint) => ({ checkpoint, depth: 1 })).toReversed()
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const { checkpoint, depth } = next
      if (shown.has(checkpoint)) continue
      shown.add(checkpoint)
      const indent = '  '.repeat(depth)
      lines.push(`${indent}${checkpointTitle(checkpoint)}`)
      for (const disk of checkpoint.disks) lines.push(`${indent}    ${diskText(disk, checkpoint.point === null)}`)
      const below = children.get(checkpoint.name) ?? []
      waiting.push(...below.map((child) => ({ checkpoint: child, depth: depth + 1 })).toReversed())
    }
  }
  add(children.get(null) ?? [])
  // those whose parents go round in a circle
  add(checkpoints)
  const count = checkpoints.length + omitted
  const more = omitted === 0 ? [] : [`  and ${omitted} more that are not shown`]
  return [`${machine}: ${count === 1 ? 'one checkpoint' : `${count} checkpoints`}`, ...lines, ...more]
}
