// The epoch beside the packs: how many acknowledged changes the catalog of these packs has had, which reveals an older copy at
// once.
import { closeSync, fdatasyncSync, openSync, readFileSync, readSync, statSync, writeSync } from 'node:fs'
import path from 'node:path'
import { failpoint } from '../../common/failpoint.ts'
import { layFile } from '../../../protocol/host/durable.ts'
import { hasCode } from '../../../protocol/host/system-error.ts'
import { storeError } from '../../common/store-error.ts'
import { EPOCH_NAME } from './names.ts'
import { readMarker } from './packs-marker.ts'

/** Digits of the number: its file never grows, so it can be written on a full disk. */
const DIGITS = 16

/** No catalog has had so many changes: a number from here on is damage. */
const EPOCH_END = 10 ** (DIGITS - 1)

const textOf = (epoch: number): string => `${String(epoch).padStart(DIGITS, '0')}\n`

const parse = (text: string): number | null =>
  /^\d{16}\n$/u.test(text) && Number(text) < EPOCH_END ? Number(text) : null

/** The number beside the packs; null where there is none, or none that can be read. STORE_FAILED. */
export const readEpoch = (root: string): number | null => {
  try {
    const file = path.join(root, EPOCH_NAME)
    return statSync(file).isFile() ? parse(readFileSync(file, 'latin1')) : null
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return null
    throw storeError(error, 'reading the epoch of the packs')
  }
}

/**
 * Writes the number beside the packs, replacing anything there; it survives power loss when this returns. STORE_FULL,
 * STORE_FAILED.
 */
export const layEpoch = async (root: string, epoch: number): Promise<void> => {
  try {
    await layFile(path.join(root, EPOCH_NAME), textOf(epoch))
  } catch (error) {
    throw storeError(error, 'laying the epoch of the packs')
  }
}

/**
 * Raises the number that is there; one that is absent (an empty mount point, a store that was never opened) is not made. The
 * number beside packs without the marker `packs` belongs to another catalog, which would then look like an older copy.
 */
export const raiseEpoch = (root: string, epoch: number, packs: string | null): void => {
  if (packs === null || readMarker(root) !== packs) return
  const name = path.join(root, EPOCH_NAME)
  // without a file there is no number; the next start writes one
  if (statSync(name, { throwIfNoEntry: false })?.isFile() !== true) return
  const file = openSync(name, 'r+')
  try {
    const bytes = Buffer.alloc(DIGITS + 1)
    const there = parse(bytes.toString('latin1', 0, readSync(file, bytes, 0, bytes.length, 0)))
    // a higher one is another process's, or that of a newer catalog
    if (there !== null && there >= epoch) return
    writeSync(file, textOf(epoch), 0, 'latin1')
    fdatasyncSync(file)
    failpoint('epoch.raised')
  } finally {
    closeSync(file)
  }
}
