// Chooses the target for a path: new file, replaced file or block device, refusing what was not asked for.
import { lstat, realpath, stat } from 'node:fs/promises'
import type { Stats } from 'node:fs'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { Qcow2Target } from './qcow2-target.ts'
import { BlockDeviceTarget, RawFileTarget, targetError } from './raw-target.ts'
import type { Target } from './target.ts'

/** What is there, null for nothing; a link that leads nowhere is something too. */
const look = async (target: string): Promise<Stats | null> => {
  for (const how of [stat, lstat]) {
    try {
      const found = await how(target)
      if (!found.isSymbolicLink()) return found
      throw new VarveError('TARGET_INVALID', `${target} is a link that leads nowhere`)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw targetError(`cannot look at ${target}`, error)
    }
  }
  return null
}

export type TargetFormat = 'raw' | 'qcow2'

/** TARGET_EXISTS without `force` where something is; TARGET_INVALID for what cannot take a disk. */
export const openTarget = async (options: {
  readonly path: string
  readonly size: number
  readonly format: TargetFormat
  readonly force: boolean
}): Promise<Target> => {
  const { size, format, force } = options
  const named = path.resolve(options.path)
  const found = await look(named)
  // what a link names is replaced, not the link
  const final = found === null ? named : await realpath(named)
  if (found !== null && !found.isFile() && !found.isBlockDevice())
    throw new VarveError('TARGET_INVALID', `${final} is neither a file nor a block device`)
  if (found !== null && !force)
    throw new VarveError(
      'TARGET_EXISTS',
      found.isBlockDevice()
        ? `${final} is a block device: everything on it would be lost; --force writes it`
        : `${final} exists; --force replaces it`,
    )
  if (found?.isBlockDevice() === true) {
    if (format !== 'raw') throw new VarveError('TARGET_INVALID', 'a block device takes the raw format only')
    return BlockDeviceTarget.open(final, size)
  }
  return format === 'raw' ? RawFileTarget.create(final, size, force) : Qcow2Target.create(final, size, force)
}
