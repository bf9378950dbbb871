// Whether a gateway's disks have room for backups besides its reserve, checked at its start rather than at the first backup.
import { VarveError } from '../../protocol/errors.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { BALLAST_FILE_BYTES, ballastFiles } from '../folder/ballast.ts'
import { diskSpace, reserveOf } from '../folder/reserve.ts'
import { openPackStore, packStoreIn } from '../packs/open-pack-store.ts'
import { ADMIT_BYTES } from './space.ts'

/**
 * A sentence for each file system of a data folder that has too little free for a backup now. CONFIG_INVALID where, with so many
 * bytes left free, no backup could be taken even if the disk were empty; `reserveBytes` is null for the default.
 */
export const lacksOfRoom = async (folder: string, reserveBytes: number | null): Promise<string[]> => {
  await using packs = await openPackStore(packStoreIn(folder))
  const disks = [{ place: folder, space: await diskSpace(folder) }]
  const space = await packs.space()
  // on one and the same disk one is enough
  const same = space?.freeBytes === disks[0]!.space.freeBytes && space.totalBytes === disks[0]!.space.totalBytes
  if (space !== null && !same) disks.push({ place: packs.place, space })
  const lacks = new Set<string>()
  for (const { place, space } of disks) {
    const { freeBytes, totalBytes } = space
    const reserve = reserveOf(reserveBytes, totalBytes)
    const besideBytes = ballastFiles(totalBytes) * BALLAST_FILE_BYTES + ADMIT_BYTES
    if (reserve + besideBytes > totalBytes)
      throw new VarveError(
        'CONFIG_INVALID',
        `with a reserve of ${sizeText(reserve)} no backup could ever be taken: the disk of ${place} has ${sizeText(totalBytes)} in all, and the gateway needs ${sizeText(besideBytes)} besides; ` +
          `reserve less than ${sizeText(Math.max(0, totalBytes - besideBytes))} (--reserve), or use a larger disk`,
      )
    if (reserve > 0 && freeBytes < reserve + ADMIT_BYTES)
      lacks.add(
        `no backup can be taken now: the disk of ${place} has ${sizeText(freeBytes)} free and a reserve of ${sizeText(reserve)}; make room with prune and gc, or give it a larger disk`,
      )
  }
  return [...lacks]
}
