// The checkpoints of a machine that runs, by the bitmaps that QEMU has on its disks.

import type { CheckpointList } from '../../../protocol/methods.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import { listDisks, splitExcluded, type BitmapState } from '../../qmp/disks.ts'
import { groupBitmaps, limitCheckpoints, type FoundBitmap } from '../checkpoint-list.ts'
import type { QmpEntry } from './entry.ts'
import { isTransferBitmap } from './names.ts'

const healthOf = ({ inconsistent, recording }: BitmapState): FoundBitmap['health'] => {
  if (inconsistent) return 'inconsistent'
  return recording ? 'whole' : 'disabled'
}

/** `entries` are leases whose filters may be above the disks. */
export const listCheckpoints = async (
  client: QmpCaller,
  exclude: readonly string[],
  { agents, entries }: { readonly agents: readonly string[]; readonly entries: readonly QmpEntry[] },
): Promise<CheckpointList> => {
  const filters = new Map(
    entries.flatMap(({ disks }) => disks.map(({ filterNode, node }) => [filterNode, node] as const)),
  )
  const found = await listDisks(client, filters)
  const bitmaps = found.disks.flatMap((disk) =>
    disk.bitmaps
      .filter(({ name }) => name !== '' && !isTransferBitmap(name))
      .map((bitmap): FoundBitmap => {
        const health = healthOf(bitmap)
        return { disk: disk.name, name: bitmap.name, health, bytes: health === 'whole' ? bitmap.count : null }
      }),
  )
  const expected = splitExcluded(found, exclude).disks.map(({ name }) => name)
  return limitCheckpoints(groupBitmaps(bitmaps, { agents, expected }))
}
