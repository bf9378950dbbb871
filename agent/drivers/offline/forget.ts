// Removes Varve's bitmaps from the images of a machine that is off.

import * as v from 'valibot'
import { VarveError } from '../../../protocol/errors.ts'
import type { Forgotten } from '../../../protocol/methods.ts'
import { checkChain } from './chain.ts'
import { diskInUse } from './holders.ts'
import type { OfflineHost } from './host.ts'
import type { DiskKey } from './keys.ts'
import { ToolError } from './tools.ts'

/** The form of all names that any agent uses. */
const OURS = /^varve-[0-9a-z]{8}-/u

const infoSchema = v.object({
  'format-specific': v.optional(
    v.object({ data: v.object({ bitmaps: v.optional(v.array(v.object({ name: v.string() })), []) }) }),
  ),
})

/** How a tool is run, and what surrounds a change. */
type Hands = Pick<OfflineHost, 'run' | 'act'>

const onImage = async (host: Hands, disk: DiskKey, args: readonly string[]): Promise<string> => {
  try {
    return await host.run('qemu-img', args)
  } catch (error) {
    if (error instanceof ToolError && /Failed to get .*lock/u.test(error.said))
      throw await diskInUse(disk, new Set(), error)
    throw error
  }
}

const bitmapsOf = async (host: Hands, disk: DiskKey): Promise<readonly string[]> => {
  const printed = await onImage(host, disk, ['info', '--output=json', '-f', 'qcow2', disk.path])
  const checked = v.safeParse(v.pipe(v.string(), v.parseJson(), infoSchema), printed)
  if (!checked.success) throw new VarveError('QMP_PROTOCOL', `what qemu-img says of ${disk.path} is not understood`)
  return checked.output['format-specific']?.data.bitmaps.map(({ name }) => name) ?? []
}

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
    for (const bitmap of (await bitmapsOf(host, disk)).filter((name) => OURS.test(name))) {
      try {
        await host.act(() => onImage(host, disk, ['bitmap', '--remove', '-f', 'qcow2', disk.path, bitmap]))
        removed.push({ node: disk.name, bitmap })
      } catch (error) {
        if (!(error instanceof ToolError)) throw error
        left.push({ node: disk.name, bitmap, file: disk.path, reason: error.message })
      }
    }
  }
  return { removed, left }
}
