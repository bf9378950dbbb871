// The checkpoints of a machine that is off, by the bitmaps that its images have stored.

import type { CheckpointList } from '../../../protocol/methods.ts'
import { groupBitmaps, limitCheckpoints } from '../checkpoint-list.ts'
import type { MachineConfig } from '../driver.ts'
import { keysOf } from './keys.ts'
import { storedOn } from './stored-bitmaps.ts'
import type { RunTool } from './tools.ts'

/** DISK_IN_USE where a machine has one of the images. */
export const listStored = async (
  run: RunTool,
  { keys, exclude }: Pick<MachineConfig, 'exclude' | 'keys'>,
  agents: readonly string[],
): Promise<CheckpointList> => {
  const { disks } = keysOf({ keys })
  const expected = disks.map(({ name }) => name).filter((name) => !exclude.includes(name))
  return limitCheckpoints(groupBitmaps(await storedOn(run, disks), { agents, expected }))
}
