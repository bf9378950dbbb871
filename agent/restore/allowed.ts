// Where the configuration lets restores write that the gateway orders: which places of this host a path may end in.
import { lstat, realpath, stat } from 'node:fs/promises'
import type { Stats } from 'node:fs'
import path from 'node:path'
import * as v from 'valibot'
import { VarveError } from '../../protocol/errors.ts'
import { RESTORE_PLACES_MAX } from '../../protocol/limits.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { absolutePath } from '../socket-path.ts'
import { targetError } from './target-error.ts'

const places = (place: v.GenericSchema<string, string>) =>
  v.optional(v.pipe(v.array(place), v.maxLength(RESTORE_PLACES_MAX)), [])

const plainPath = v.pipe(
  absolutePath,
  v.check(
    (text) => path.normalize(text).replace(/(.)\/$/u, '$1') === text.replace(/(.)\/$/u, '$1'),
    'a path without "." and ".."',
  ),
)

/** The table `[restore]`: without it nothing is allowed. */
export const restoreSchema = v.strictObject({
  /** Folders in and below which files may be written. */
  folders: places(
    v.pipe(
      plainPath,
      v.check((text) => text !== '/', 'a folder below /'),
    ),
  ),
  /** Block devices that may be overwritten; one that ends in `*` stands for all whose path begins so. */
  devices: places(v.pipe(plainPath, v.regex(/^\/dev\/[^*]+\*?$/u, 'a path below /dev, with * at its end or without'))),
})
export type RestoreRules = v.InferOutput<typeof restoreSchema>

export const RESTORE_NOWHERE: RestoreRules = { folders: [], devices: [] }

/** A place where a restore may write. */
export interface AllowedPlace {
  /** Without symbolic links. */
  readonly path: string
  /** What is there; null for nothing. */
  readonly there: Stats | null
}

/** Whether a path is in a folder or below it. */
const isBelow = (file: string, folder: string): boolean => {
  const way = path.relative(folder, file)
  return way !== '' && way !== '..' && !way.startsWith('../') && !path.isAbsolute(way)
}

const isDevice = (file: string, devices: readonly string[]): boolean =>
  devices.some((rule) => {
    if (!rule.endsWith('*')) return rule === file
    const start = rule.slice(0, -1)
    return file.startsWith(start) && !file.slice(start.length).includes('/')
  })

const forbidden = (to: string, { folders, devices }: RestoreRules): VarveError => {
  const all = [...folders, ...devices]
  const allowed = all.length === 0 ? 'it allows no restore from the gateway yet' : `it allows ${all.join(', ')}`
  return new VarveError(
    'RESTORE_FORBIDDEN',
    `this agent does not let the gateway restore to ${to}: ${allowed}; add its folder under [restore] in the agent's configuration and reload it, or run "varve-agent restore" on the host`,
  )
}

const real = async (file: string): Promise<string | null> => {
  try {
    return await realpath(file)
  } catch {
    return null
  }
}

const lookAt = async (file: string): Promise<Stats | null> => {
  try {
    return await lstat(file)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null
    throw targetError(`cannot write ${file}`, error)
  }
}

/** A device by one of its names that is allowed, whatever device that is today. */
const deviceAt = async (named: string, to: string, rules: RestoreRules): Promise<AllowedPlace> => {
  const found = await stat(named).catch((error: unknown) => {
    throw targetError(`cannot write ${to}`, error)
  })
  if (!found.isBlockDevice()) throw forbidden(to, rules)
  return { path: await realpath(named), there: found }
}

/**
 * The place that a path of a gateway's order ends in, after all symbolic links. RESTORE_FORBIDDEN for one that the rules do not
 * allow, which says nothing of what is there; TARGET_INVALID.
 */
export const allowedPlace = async (to: string, rules: RestoreRules): Promise<AllowedPlace> => {
  // a path that ends in a slash, a dot or two would lose that here
  if (/\/\.{0,2}$/u.test(to)) throw new VarveError('TARGET_INVALID', `${to} names a folder: name a file in it`)
  const named = path.resolve(to)
  if (isDevice(named, rules.devices)) return await deviceAt(named, to, rules)
  const reals = (await Promise.all(rules.folders.map(real))).filter((folder) => folder !== null)
  // by its text first, so that nothing outside is even looked at
  if (![...rules.folders, ...reals].some((folder) => isBelow(named, folder))) throw forbidden(to, rules)
  const folder = await realpath(path.dirname(named)).catch((error: unknown) => {
    throw targetError(`cannot write ${to}`, error)
  })
  const file = path.join(folder, path.basename(named))
  if (!reals.some((one) => isBelow(file, one))) throw forbidden(to, rules)
  const found = await lookAt(file)
  if (found === null || !found.isSymbolicLink()) return checkKind({ path: file, there: found }, to, rules)
  const end = await realpath(file).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) throw new VarveError('TARGET_INVALID', `${to} is a dangling symbolic link`)
    throw targetError(`cannot write ${to}`, error)
  })
  if (!reals.some((one) => isBelow(end, one))) throw forbidden(to, rules)
  return checkKind({ path: end, there: await lookAt(end) }, to, rules)
}

/** A device node in an allowed folder is no file, and is forbidden unless the rules name it. */
const checkKind = (place: AllowedPlace, to: string, rules: RestoreRules): AllowedPlace => {
  const { there } = place
  if (there?.isBlockDevice() === true && !isDevice(place.path, rules.devices)) throw forbidden(to, rules)
  if (there?.isDirectory() === true) throw new VarveError('TARGET_INVALID', `${to} is a folder: name a file in it`)
  if (there !== null && !there.isFile() && !there.isBlockDevice())
    throw new VarveError('TARGET_INVALID', `${to} is neither a file nor a block device`)
  return place
}
