// The format of a restored file: as requested, else by its name, else that of the file it replaces.
import { open } from 'node:fs/promises'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'

export type TargetFormat = 'raw' | 'qcow2'

/** Formats by file extension; `null` for one that a restore cannot write. */
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

/** The first bytes of a qcow2 image. */
const QCOW2_MAGIC = 'QFI\xfb'

export interface ChosenFormat {
  readonly format: TargetFormat
  /** A remark on what may be unexpected; null for none. */
  readonly remark: string | null
}

/** Whether a file begins as qcow2 images do; false for one that cannot be read. */
export const isQcow2 = async (file: string): Promise<boolean> => {
  try {
    await using handle = await open(file, 'r')
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4), 0, 4, 0)
    return bytesRead === 4 && buffer.toString('latin1') === QCOW2_MAGIC
  } catch {
    // an unreadable file has no known format; whether it can be written shows later
    return false
  }
}

/**
 * The format of a target: `asked`, else what the name's extension says, else qcow2 in place of a qcow2 file, else raw.
 * TARGET_INVALID for the extension of a format that a restore cannot write, unless a format is requested.
 */
export const chooseFormat = async (options: {
  readonly path: string
  readonly asked: TargetFormat | null
  /** What exists at the target: a block device, a file, or nothing. */
  readonly there: 'device' | 'file' | null
}): Promise<ChosenFormat> => {
  const { asked, there } = options
  const name = path.basename(options.path)
  const extension = path.extname(name).toLowerCase()
  const said = Object.hasOwn(EXTENSIONS, extension) ? EXTENSIONS[extension] : undefined
  if (there === 'device') return { format: asked ?? 'raw', remark: null }
  if (asked !== null) {
    const odd = said !== undefined && said !== asked
    return { format: asked, remark: odd ? `${name} is written as ${asked}, as --format says, despite its name` : null }
  }
  if (said === null)
    throw new VarveError(
      'TARGET_INVALID',
      `${name}: a restore writes raw or qcow2, not ${extension}: restore to such a name and convert it ("qemu-img convert"), or give --format`,
    )
  if (said !== undefined) return { format: said, remark: null }
  if (there === 'file' && (await isQcow2(options.path)))
    return {
      format: 'qcow2',
      remark: `${name} is written as qcow2, like the file it replaces; use --format raw for raw`,
    }
  return { format: 'raw', remark: null }
}
