// The message about a disk that cannot be restored whole: its lost ranges and the way out.
import { VarveError } from '../../protocol/errors.ts'
import type { LostRange } from '../../protocol/maintenance.ts'

/** Ranges that the sentence names; the others are counted. */
export const RANGES_NAMED_MAX = 8

/** Characters of a point's id that name it to a person. */
const ID_CHARS = 8

/** DATA_DAMAGED that names the disk and its lost ranges, in ascending order; offsets and lengths in bytes. */
export const lostRangesError = (
  about: { readonly point: string; readonly disk: string },
  known: { readonly lost: readonly LostRange[]; readonly lostCount: number; readonly lostBytes: number },
): VarveError => {
  const { point, disk } = about
  const { lost, lostCount, lostBytes } = known
  const named = lost.slice(0, RANGES_NAMED_MAX).map(({ offset, length }) => `${length} at ${offset}`)
  const more = lostCount > named.length ? `, and ${lostCount - named.length} more` : ''
  const ranges = `${lostCount} ${lostCount === 1 ? 'range' : 'ranges'}`
  return new VarveError(
    'DATA_DAMAGED',
    `disk ${disk} of restore point ${point.slice(0, ID_CHARS)} is damaged: ${lostBytes} bytes in ${ranges} cannot be read (${named.join(', ')}${more}); ` +
      'a restore with --skip-damaged writes the rest, and the next backup that finds the same content heals it',
    { details: { point, disk, lostBytes, lostCount } },
  )
}
