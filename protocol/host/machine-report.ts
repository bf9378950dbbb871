// A machine for people: how it is now, and which of its checkpoints were removed.
import type { Forgotten, MachineStatus } from '../methods.ts'
import { VarveError } from '../errors.ts'
import { sizeText } from './size.ts'

export const statusLines = ({
  name,
  problem,
  hypervisor,
  runState,
  lease,
  disks,
  leftOut,
}: MachineStatus): string[] => {
  const running = lease === null ? '' : `, backup ${lease.slice(0, 8)} running`
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
