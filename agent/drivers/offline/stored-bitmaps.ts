// The bitmaps that an image has stored, by `qemu-img info`: nothing is written.

import * as v from 'valibot'
import { VarveError } from '../../../protocol/errors.ts'
import type { FoundBitmap } from '../checkpoint-list.ts'
import { diskInUse } from './holders.ts'
import type { DiskKey } from './keys.ts'
import { ToolError, type RunTool } from './tools.ts'

const infoSchema = v.object({
  'format-specific': v.optional(
    v.object({
      data: v.object({
        bitmaps: v.optional(v.array(v.object({ name: v.string(), flags: v.optional(v.array(v.string()), []) })), []),
      }),
    }),
  ),
})

/** Runs qemu-img on a disk's image; DISK_IN_USE where its lock says that a machine has it. */
export const onImage = async (run: RunTool, disk: DiskKey, args: readonly string[]): Promise<string> => {
  try {
    return await run('qemu-img', args)
  } catch (error) {
    if (error instanceof ToolError && /Failed to get .*lock/u.test(error.said))
      throw await diskInUse(disk, new Set(), error)
    throw error
  }
}

/** Of one that its image has loaded into no QEMU: one in use was not stored at its end. */
const healthOf = (flags: readonly string[]): FoundBitmap['health'] => {
  if (flags.includes('in-use')) return 'inconsistent'
  return flags.includes('auto') ? 'whole' : 'disabled'
}

/**
 * The bitmaps of a qcow2 image; how much they record is not told. `shared` looks into one that a machine has open: it has all
 * its bitmaps in use, and not those that were made since it was started. DISK_IN_USE.
 */
export const storedBitmaps = async (
  run: RunTool,
  disk: DiskKey,
  { shared = false }: { readonly shared?: boolean } = {},
): Promise<readonly FoundBitmap[]> => {
  const lock = shared ? ['-U'] : []
  const printed = await onImage(run, disk, ['info', '--output=json', ...lock, '-f', 'qcow2', disk.path])
  const checked = v.safeParse(v.pipe(v.string(), v.parseJson(), infoSchema), printed)
  if (!checked.success) throw new VarveError('QMP_PROTOCOL', `what qemu-img says of ${disk.path} is not understood`)
  const bitmaps = checked.output['format-specific']?.data.bitmaps ?? []
  return bitmaps.map(({ name, flags }) => ({ name, disk: disk.name, bytes: null, health: healthOf(flags) }))
}

/** The same of several disks; those that are not qcow2 have none. */
export const storedOn = async (
  run: RunTool,
  disks: readonly DiskKey[],
  options: { readonly shared?: boolean } = {},
): Promise<readonly FoundBitmap[]> => {
  const all: FoundBitmap[] = []
  for (const disk of disks) if (disk.format === 'qcow2') all.push(...(await storedBitmaps(run, disk, options)))
  return all
}
