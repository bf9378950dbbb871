// The note of a clean stop: how the catalog's file was left, so that a start may trust a large index without reading all of it.
import { existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { CATALOG_NAME, CLEAN_NAME } from '../../folder/layout.ts'

const FILE_MODE = 0o600

/** Writing to a file or replacing it changes one of these; null where its log holds more, or there is no file. */
const look = (folder: string): string | null => {
  const catalog = path.join(folder, CATALOG_NAME)
  if (existsSync(`${catalog}-wal`)) return null
  const found = statSync(catalog, { bigint: true, throwIfNoEntry: false })
  if (found === undefined) return null
  return [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(' ')
}

/**
 * Notes how the catalog was left; only for an exclusive owner that found no damage. Without a note the next start reads all of
 * it.
 */
export const noteCleanStop = (folder: string): void => {
  try {
    const text = look(folder)
    if (text === null) return
    const file = path.join(folder, CLEAN_NAME)
    // opening a pipe of this name must not block
    rmSync(`${file}.new`, { force: true })
    writeFileSync(`${file}.new`, `${text}\n`, { mode: FILE_MODE })
    renameSync(`${file}.new`, file)
  } catch {
    // on a full disk the next start merely takes longer
  }
}

/** Whether the catalog is the file that a clean stop left, untouched since. */
export const isAsLeft = (folder: string): boolean => {
  try {
    const text = look(folder)
    const file = path.join(folder, CLEAN_NAME)
    // opening a pipe of this name must not block
    return text !== null && statSync(file).isFile() && readFileSync(file, 'utf8') === `${text}\n`
  } catch {
    return false
  }
}
