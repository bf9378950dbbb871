// How long packs may get on a disk: less than usual on a small one, so that the ballast has room to rewrite any of them.
import { BALLAST_FILE_BYTES, ballastFiles } from '../../folder/ballast.ts'
import { PACK_BYTES_MAX } from '../format.ts'

/** Packs have at most this part of the ballast: it has room to rewrite any of them before the old one goes, and some besides. */
const PACK_PART = 0.8

/** Most bytes of a pack on a disk of so many bytes: PACK_BYTES_MAX from 1.25 GiB on. */
export const packBytesOn = (diskBytes: number): number =>
  Math.min(PACK_BYTES_MAX, Math.floor(ballastFiles(diskBytes) * BALLAST_FILE_BYTES * PACK_PART))
