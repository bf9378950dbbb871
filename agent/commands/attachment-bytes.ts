// The content of an attachment of a restore point, for what is planned by it.
import type { Point } from '../../protocol/schemas.ts'
import { restoreDisk } from '../restore/restore.ts'
import type { CommandContext } from './context.ts'

/** Null where the point has none of this name. What reading an image ends with. */
export const attachmentBytes = async (
  { link, signal }: CommandContext,
  point: Point,
  name: string,
): Promise<Buffer | null> => {
  const image = point.attachments.find((one) => one.name === name)
  if (image === undefined) return null
  const bytes = Buffer.alloc(image.size)
  await restoreDisk({
    repeat: (work) => link.repeat(work, signal),
    point: point.id,
    disk: name,
    size: image.size,
    root: image.root,
    target: {
      write: async (offset, part) => bytes.set(part, offset),
      zero: async () => {},
    },
    skipDamaged: false,
    signal,
    onProgress: () => {},
  })
  return bytes
}
