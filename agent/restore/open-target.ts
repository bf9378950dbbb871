// Chooses the target for a path: new file, replaced file or block device; replaces only with --force.
import { lstat, realpath, stat } from 'node:fs/promises'
import type { Stats } from 'node:fs'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import type { AllowedPlace } from './allowed.ts'
import { chooseFormat, type ChosenFormat, type TargetFormat } from './format.ts'
import type { LeftContent } from './kept.ts'
import { makeQcow2File } from './qcow2-target.ts'
import { BlockDeviceTarget, makeRawFile } from './raw-target.ts'
import type { RestoreNotes } from './restore-notes.ts'
import type { KnownMachine } from './target-guard.ts'
import type { Target } from './target.ts'
import { targetError } from './target-error.ts'
import { WholeFile } from './whole-file.ts'

/** What is there, null for nothing; a dangling link counts too. */
const look = async (target: string): Promise<Stats | null> => {
  for (const how of [stat, lstat]) {
    try {
      const found = await how(target)
      if (!found.isSymbolicLink()) return found
      throw new VarveError('TARGET_INVALID', `${target} is a dangling symbolic link`)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw targetError(`cannot write ${target}`, error)
    }
  }
  return null
}

/** TARGET_INVALID for a path that can only name a folder. */
const checkName = (named: string): void => {
  if (named === '')
    throw new VarveError('TARGET_INVALID', 'the target has no name: --to takes the path of a file or block device')
  if (named === '-') throw new VarveError('TARGET_INVALID', 'standard output is no file: ./- is one that is called -')
  if (/(?:^|\/)\.{0,2}$/u.test(named))
    throw new VarveError('TARGET_INVALID', `${named} names a folder: name a file in it`)
}

export interface OpenedTarget extends ChosenFormat {
  readonly target: Target
  /** What an earlier restore left in it; null for nothing. */
  readonly left: LeftContent | null
}

/** RESTORE_FORBIDDEN where a path no longer ends in the place that was allowed, as somebody has moved a folder or a link. */
export const movedAway = (to: string, before: string, now: string): VarveError =>
  new VarveError(
    'RESTORE_FORBIDDEN',
    `${to} led to ${before} when the restore began, and to ${now} now: somebody changes folders or links there; restore again when that is over`,
  )

/** The path without symbolic links, of a file that may not be there yet. */
const withoutLinks = async (file: string): Promise<string> =>
  path.join(await realpath(path.dirname(file)), path.basename(file))

/** RESTORE_FORBIDDEN unless a path ends in this place, and in that device. */
const checkPlace = async (at: string, final: string, found: Stats | null, place: AllowedPlace): Promise<void> => {
  const now = await withoutLinks(final).catch((error: unknown) => {
    throw targetError(`cannot write ${at}`, error)
  })
  const [is, was] = [found, place.there].map((one) => (one?.isBlockDevice() === true ? one.rdev : null))
  if (now !== place.path) throw movedAway(at, place.path, now)
  if (is !== was) throw movedAway(at, place.path, 'another device or file of that name')
}

/**
 * TARGET_EXISTS without `force` where something exists; TARGET_IN_USE where it is in use, even with `force`;
 * TARGET_INVALID for what cannot take a disk. With `place` RESTORE_FORBIDDEN unless the path ends there and nowhere else.
 */
export const openTarget = async (options: {
  readonly path: string
  readonly size: number
  /** Null: decided by the name. */
  readonly format: TargetFormat | null
  readonly force: boolean
  readonly machines?: readonly KnownMachine[]
  readonly notes?: RestoreNotes
  /** Where the path ended when it was allowed. */
  readonly place?: AllowedPlace
  /** Of a file: goes on with what an earlier restore left, and leaves it for a later one. */
  readonly resume?: boolean
  /** Of a file: one of the same content that is there already counts as written. */
  readonly again?: boolean
}): Promise<OpenedTarget> => {
  const { size, force, place } = options
  checkName(options.path)
  const named = path.resolve(options.path)
  const found = await look(named)
  // a link's target is replaced, not the link
  const final = found === null ? named : await realpath(named)
  if (place !== undefined) await checkPlace(options.path, final, found, place)
  if (found?.isDirectory() === true)
    throw new VarveError(
      'TARGET_INVALID',
      `${final} is a folder: name a file in it, such as ${path.join(final, 'disk.raw')}`,
    )
  if (found !== null && !found.isFile() && !found.isBlockDevice())
    throw new VarveError('TARGET_INVALID', `${final} is neither a file nor a block device`)
  const mayBe = options.resume === true || (options.again === true && found?.size === size)
  const isWritten = found?.isFile() === true && !force && mayBe
  if (found !== null && !force && !isWritten)
    throw new VarveError(
      'TARGET_EXISTS',
      found.isBlockDevice()
        ? `${final} is a block device: everything on it would be lost; --force writes it`
        : `${final} exists; --force replaces it`,
    )
  const device = found?.isBlockDevice() === true
  const there = device ? 'device' : found === null || isWritten ? null : 'file'
  // the extension of the link's own name counts, as people see that one
  const chosen = await chooseFormat({ path: named, asked: options.format, there })
  if (device) {
    if (chosen.format !== 'raw') throw new VarveError('TARGET_INVALID', 'a block device takes the raw format only')
    if (options.resume === true)
      throw new VarveError('TARGET_INVALID', `${final} is a block device: --resume goes on with files only`)
    const target = await BlockDeviceTarget.open(final, size, { ...options, rdev: place?.there?.rdev })
    return { ...chosen, target, left: null }
  }
  if (isWritten && options.resume === true) {
    const whole = await WholeFile.open(final, { ...options, format: chosen.format })
    return { ...chosen, target: whole, left: whole }
  }
  const make = chosen.format === 'raw' ? makeRawFile : makeQcow2File
  const target = await make(final, size, options)
  return { ...chosen, target, left: target.isKept ? target : null }
}
