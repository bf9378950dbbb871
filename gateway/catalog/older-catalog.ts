// The message for a catalog that is older than its packs, and the count of changes that reveals it.
import { VarveError } from '../../protocol/errors.ts'

/** The message for a catalog that is older than its packs, with the way out. */
export const olderText = (what: string): string =>
  `the catalog is older than the packs, ${what}: was an old copy put back? stop the gateway and build it again with: varve-gateway repair --rebuild`

/** The message if the packs (`there`; null for none) have seen changes that the catalog (`known`) has not; else null. */
export const olderEpochText = (there: number | null, known: number): string | null =>
  there !== null && there > known
    ? olderText(`which have seen ${there} acknowledged changes, of which it knows ${known}`)
    : null

/** The same as CATALOG_MISSING. */
export const refuseOlderEpoch = (there: number | null, known: number): void => {
  const text = olderEpochText(there, known)
  if (text !== null) throw new VarveError('CATALOG_MISSING', text)
}
