// The attachments that an agent announces for a backup: what the gateway refuses of them. Pure.
import { VarveError } from '../../protocol/errors.ts'
import { ATTACHMENTS_BYTES_MAX } from '../../protocol/limits.ts'
import { clashOf, type AnnouncedAttachment, type MissingAttachment } from '../../protocol/attachments.ts'

/** What rows of attachments say of how they were read: whole, each time. */
export const ATTACHMENT_READ = { kind: 'full', reason: 'requested' } as const

const MIB = 1024 * 1024

/**
 * UPLOAD_INVALID where two images of the point would have one name, where one attachment would be a file and a folder of others
 * when all are restored, or where they are too large together.
 */
export const checkAttachments = (
  disks: readonly { readonly name: string }[],
  attachments: readonly AnnouncedAttachment[],
  missing: readonly MissingAttachment[],
): void => {
  const taken = new Set(disks.map(({ name }) => name))
  for (const { name } of [...attachments, ...missing]) {
    if (taken.has(name))
      throw new VarveError(
        'UPLOAD_INVALID',
        `two of the disks and attachments are called "${name}": each needs a name of its own`,
        { details: { attachment: name } },
      )
    taken.add(name)
  }
  const names = attachments.map(({ name }) => name)
  for (const name of names) {
    const clash = clashOf(name, names)
    if (clash !== null)
      throw new VarveError(
        'UPLOAD_INVALID',
        `of the attachments "${name}" and "${clash}" one is a folder of the other: both cannot be restored into one folder`,
        { details: { attachment: name } },
      )
  }
  const bytes = attachments.reduce((sum, { size }) => sum + size, 0)
  if (bytes > ATTACHMENTS_BYTES_MAX)
    throw new VarveError(
      'UPLOAD_INVALID',
      `the attachments have ${bytes} bytes together, at most ${ATTACHMENTS_BYTES_MAX / MIB} MiB may go with a restore point`,
    )
}
