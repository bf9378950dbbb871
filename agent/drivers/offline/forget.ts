// Removes Varve's bitmaps from the images of a machine that is off.

import { VarveError } from '../../../protocol/errors.ts'
import type { Forgotten } from '../../../protocol/methods.ts'
import { checkChain } from './chain.ts'
import type { OfflineHost } from './host.ts'
import type { DiskKey } from './keys.ts'
import { onImage, storedBitmaps } from './stored-bitmaps.ts'
import { ToolError } from './tools.ts'

/** The form of all names that any agent uses. */
const OURS = /^varve-[0-9a-z]{8}-/u

/** How a tool is run, and what surrounds a change. */
type Hands = Pick<OfflineHost, 'run' | 'act'>

/**
 * Removes them from all disks, or from one. DISK_IN_USE, NOT_FOUND where there is no such disk; what qemu-img refuses is in
 * `left`.
 */
export const forgetDisks = async (host: Hands, disks: readonly DiskKey[], only: string | null): Promise<Forgotten> => {
  const wanted = only === null ? disks : disks.filter(({ name }) => name === only)
  if (wanted.length === 0) {
    const names = disks.map(({ name }) => name).join(', ')
    throw new VarveError('NOT_FOUND', `there is no disk "${only}"; the machine has: ${names}`)
  }
  const removed: Forgotten['removed'] = []
  const left: Forgotten['left'] = []
  for (const disk of wanted.filter(({ format }) => format === 'qcow2')) {
    await checkChain(disk)
    for (const bitmap of (await storedBitmaps(host.run, disk))
      .map(({ name }) => name)
      .filter((name) => OURS.test(name))) {
      try {
        await host.act(() => onImage(host.run, disk, ['bitmap', '--remove', '-f', 'qcow2', disk.path, bitmap]))
        removed.push({ node: disk.name, bitmap })
      } catch (error) {
        if (!(error instanceof ToolError)) throw error
        left.push({ node: disk.name, bitmap, file: disk.path, reason: error.message })
      }
    }
  }
  return { removed, left }
}
