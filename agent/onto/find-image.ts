// The image that a differential restore is to write onto: where it is, its format, and whether it may be written at all.
import { lstat, readlink, realpath, stat } from 'node:fs/promises'
import type { Stats } from 'node:fs'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { chooseFormat, isQcow2, type TargetFormat } from '../restore/format.ts'
import { incompleteName } from '../restore/restore-notes.ts'
import { targetError } from '../restore/target-error.ts'

/** Most links that are followed to a name that is not there. */
const LINKS_MAX = 40

export interface FoundImage {
  /** The name without links that it has or gets. */
  readonly final: string
  /** Where it is: under another name after an interrupted restore. */
  readonly place: string
  readonly kind: 'file' | 'device'
  readonly format: TargetFormat
}

const found = async (file: string): Promise<Stats | null> => {
  try {
    return await stat(file)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null
    throw targetError(`cannot look at ${file}`, error)
  }
}

/** Where a path leads without links, also to a file that is not there. */
const finalName = async (named: string): Promise<string> => {
  let file = path.resolve(named)
  try {
    for (let links = 0; links < LINKS_MAX; links++) {
      const real = await realpath(file).catch(() => null)
      if (real !== null) return real
      const link = await lstat(file).catch(() => null)
      if (link?.isSymbolicLink() !== true) break
      file = path.resolve(path.dirname(file), await readlink(file))
    }
    return path.join(await realpath(path.dirname(file)), path.basename(file))
  } catch (error) {
    throw targetError(`cannot look at ${named}`, error)
  }
}

/** TARGET_INVALID where the content and the name say different things, as what a guest has written must not decide. */
const formatOf = async (final: string, place: string, asked: TargetFormat | null): Promise<TargetFormat> => {
  if (asked !== null) return asked
  const begins = await isQcow2(place)
  const { format } = await chooseFormat({ path: final, asked: null, there: null })
  if (begins === (format === 'qcow2')) return format
  const why = begins
    ? 'begins as a qcow2 image does, and its name does not say so'
    : 'is called qcow2, and does not begin as one'
  throw new VarveError('TARGET_INVALID', `${final} ${why}: say --format raw or --format qcow2`)
}

/** TARGET_INVALID for what cannot be written onto. */
export const findImage = async (named: string, asked: TargetFormat | null): Promise<FoundImage> => {
  if (named === '' || named === '-')
    throw new VarveError('TARGET_INVALID', '--onto takes the path of an image that is there: a file or block device')
  const final = await finalName(named)
  const incomplete = incompleteName(final)
  const [whole, part] = [await found(final), await found(incomplete)]
  if (whole !== null && part !== null)
    throw new VarveError(
      'TARGET_INVALID',
      `${final} is there, and so is ${incomplete}, which an interrupted restore has left: remove the one that is not wanted`,
    )
  const there = whole ?? part
  const place = whole === null ? incomplete : final
  if (there === null)
    throw new VarveError(
      'TARGET_INVALID',
      `${final} does not exist: --onto writes onto what is there, --to makes a new file`,
    )
  if (there.isBlockDevice()) {
    if (asked === 'qcow2') throw new VarveError('TARGET_INVALID', 'a block device takes the raw format only')
    return { final, place, kind: 'device', format: 'raw' }
  }
  if (!there.isFile()) throw new VarveError('TARGET_INVALID', `${final} is neither a file nor a block device`)
  return { final, place, kind: 'file', format: await formatOf(final, place, asked) }
}
