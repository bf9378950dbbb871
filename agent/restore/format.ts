// Which format a restored file gets: as asked, else by its name, else as the file that it replaces.
import { open } from 'node:fs/promises'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'

export type TargetFormat = 'raw' | 'qcow2'

/** Extensions that say what is in a file; `null` says something that is not written here. */
const EXTENSIONS: Readonly<Record<string, TargetFormat | null>> = {
  '.raw': 'raw',
  '.qcow2': 'qcow2',
  '.qcow': null,
  '.qed': null,
  '.vmdk': null,
  '.vdi': null,
  '.vhd': null,
  '.vhdx': null,
  '.vpc': null,
  '.hds': null,
  '.hdd': null,
  '.ova': null,
  '.ovf': null,
  '.vma': null,
  '.dmg': null,
  '.luks': null,
  '.gz': null,
  '.xz': null,
  '.zst': null,
  '.bz2': null,
  '.lz4': null,
  '.zip': null,
  '.tar': null,
  '.tgz': null,
}

/** What a qcow2 image begins with. */
const QCOW2_MAGIC = 'QFI\xfb'

export interface ChosenFormat {
  readonly format: TargetFormat
  /** What a person may not expect of it, null for nothing. */
  readonly remark: string | null
}

const isQcow2 = async (file: string): Promise<boolean> => {
  try {
    await using handle = await open(file, 'r')
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4), 0, 4, 0)
    return bytesRead === 4 && buffer.toString('latin1') === QCOW2_MAGIC
  } catch {
    // a file that cannot be read says nothing; whether it can be written is seen later
    return false
  }
}

/**
 * The format of a target: `asked`, else what the name's extension says, else qcow2 in place of a qcow2 file, else raw.
 * TARGET_INVALID for the extension of a format that is not written here, unless the format is asked for.
 */
export const chooseFormat = async (options: {
  readonly path: string
  readonly asked: TargetFormat | null
  /** A block device is there, or a file, or nothing. */
  readonly there: 'device' | 'file' | null
}): Promise<ChosenFormat> => {
  const { asked, there } = options
  const name = path.basename(options.path)
  const extension = path.extname(name).toLowerCase()
  const said = Object.hasOwn(EXTENSIONS, extension) ? EXTENSIONS[extension] : undefined
  if (there === 'device') return { format: asked ?? 'raw', remark: null }
  if (asked !== null) {
    const odd = said !== undefined && said !== asked
    return { format: asked, remark: odd ? `${name} is ${asked}, as --format says, whatever its name says` : null }
  }
  if (said === null)
    throw new VarveError(
      'TARGET_INVALID',
      `${name}: a restore writes raw or qcow2, not ${extension}; name it so and convert it then ("qemu-img convert"), or say --format`,
    )
  if (said !== undefined) return { format: said, remark: null }
  if (there === 'file' && (await isQcow2(options.path)))
    return {
      format: 'qcow2',
      remark: `${name} is written as qcow2, as the file that it replaces; --format raw for raw`,
    }
  return { format: 'raw', remark: null }
}
