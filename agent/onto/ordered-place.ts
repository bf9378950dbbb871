// The image that an order of the gateway compares or writes onto: in an allowed place by every name, and standing alone.
import { constants } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import { VarveError } from '../../protocol/errors.ts'
import { allowedPlace, type AllowedPlace, type RestoreRules } from '../restore/allowed.ts'
import { movedAway } from '../restore/open-target.ts'
import type { TargetFormat } from '../restore/format.ts'
import { incompleteName } from '../restore/restore-notes.ts'
import { targetError } from '../restore/target-error.ts'
import { findImage, type FoundImage } from './find-image.ts'

/** Bytes of a qcow2 header up to its incompatible features, which version 2 does not have. */
const HEADER_BYTES = 80
const AT = { version: 4, backing: 8, incompatible: 72 } as const
const DATA_FILE_BIT = 1n << 2n

/**
 * TARGET_INVALID for a qcow2 image whose header names another file: what a header says may come from a guest, and would have an
 * order read or write outside of the places that are allowed.
 */
const checkStandsAlone = async ({ final, place, format }: FoundImage): Promise<void> => {
  if (format !== 'qcow2') return
  const header = Buffer.alloc(HEADER_BYTES)
  try {
    // a pipe does not keep whoever opens it so
    await using file = await open(place, constants.O_RDONLY | constants.O_NONBLOCK)
    await file.read(header, 0, HEADER_BYTES, 0)
  } catch (error) {
    throw targetError(`cannot look at ${final}`, error)
  }
  const isBacked = header.readBigUInt64BE(AT.backing) !== 0n
  const hasDataFile =
    header.readUInt32BE(AT.version) > 2 && (header.readBigUInt64BE(AT.incompatible) & DATA_FILE_BIT) !== 0n
  if (isBacked || hasDataFile)
    throw new VarveError(
      'TARGET_INVALID',
      `${final} has ${isBacked ? 'a backing file' : 'its data in another file'}: orders write only onto images that stand alone; run "varve-agent restore --onto" on the host`,
    )
}

const isThere = (file: string): Promise<boolean> =>
  lstat(file).then(
    () => true,
    () => false,
  )

/**
 * What is at an allowed place, or was left there by an interrupted restore. RESTORE_FORBIDDEN where either leads elsewhere;
 * TARGET_INVALID for what cannot be written onto.
 */
export const ontoPlace = async (
  { path }: AllowedPlace,
  format: TargetFormat | null,
  rules: RestoreRules,
): Promise<FoundImage> => {
  const left = incompleteName(path)
  // before anything is read of it
  if (await isThere(left)) {
    const leads = await allowedPlace(left, rules)
    if (leads.path !== left) throw movedAway(left, left, leads.path)
  }
  const found = await findImage(path, format)
  if (found.final !== path) throw movedAway(path, path, found.final)
  await checkStandsAlone(found)
  return found
}
