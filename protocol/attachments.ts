// Attachments: small files that go with a restore point besides its disks. Their names, their limits, and what is said of them.
import * as v from 'valibot'
import { ATTACHMENT_BYTES_MAX, ATTACHMENT_NAME_BYTES_MAX, ATTACHMENTS_MAX, MISSING_MAX } from './limits.ts'

/** Longest sentence that says why a file could not be had, in characters. */
const REASON_CHARS_MAX = 512

/** Parts of a name that would lead out of a folder, or name nothing. */
const NO_PARTS: ReadonlySet<string> = new Set(['', '.', '..'])

/**
 * Whether a name stays in the folder that it is written to: parts divided by slashes, none of them empty, `.` or `..`, and no
 * control character, backslash or half of a character.
 */
export const isAttachmentName = (name: string): boolean =>
  /^[^\p{Cc}\p{Cs}\\]+$/u.test(name) &&
  new TextEncoder().encode(name).length <= ATTACHMENT_NAME_BYTES_MAX &&
  !name.split('/').some((part) => NO_PARTS.has(part))

/** The one of these names that is a folder of this name, or a file in it: both cannot lie in one folder; null for none. */
export const clashOf = (name: string, others: Iterable<string>): string | null => {
  for (const other of others) if (name.startsWith(`${other}/`) || other.startsWith(`${name}/`)) return other
  return null
}

/** Such as `domain.xml`, `swtpm/tpm2-00.permall` or `file:/etc/hosts`; at most 255 bytes of UTF-8. */
export const attachmentName = v.pipe(
  v.string(),
  v.check(isAttachmentName, 'a name that stays in a folder, at most 255 bytes'),
)

/** Size of an attachment in bytes, exact to the byte. */
export const attachmentBytes = v.pipe(
  v.number(),
  v.safeInteger(),
  v.minValue(0),
  v.maxValue(ATTACHMENT_BYTES_MAX, `at most ${ATTACHMENT_BYTES_MAX} bytes`),
)

/** An attachment as `backup.begin` announces it. */
export const announcedAttachment = v.object({ name: attachmentName, size: attachmentBytes })
export type AnnouncedAttachment = v.InferOutput<typeof announcedAttachment>

export const attachments = <S extends v.GenericSchema>(schema: S) =>
  v.pipe(v.array(schema), v.maxLength(ATTACHMENTS_MAX, `at most ${ATTACHMENTS_MAX} attachments`))

/** Files that should go with a restore point and could not be had, each with a sentence. */
export const missingAttachments = v.pipe(
  v.array(
    v.object({ name: attachmentName, reason: v.pipe(v.string(), v.minLength(1), v.maxLength(REASON_CHARS_MAX)) }),
  ),
  v.maxLength(MISSING_MAX),
)
export type MissingAttachment = v.InferOutput<typeof missingAttachments>[number]

/** A sentence that fits. */
export const missingReason = (text: string): string =>
  text.length <= REASON_CHARS_MAX ? text : `${text.slice(0, REASON_CHARS_MAX - 1)}…`
