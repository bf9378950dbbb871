// On whose behalf a file is read that the agent did not choose: what a QEMU or a user's libvirt names must be theirs to read.
import type { Stats } from 'node:fs'
import { lstat, readdir, readlink, stat } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { parseLibvirtUri } from '../libvirt/uri.ts'

/** A user of this host, with the groups in which it is known to be. */
export interface Reader {
  readonly uid: number
  readonly gids: readonly number[]
}

const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

export const readerSchema = v.object({ uid: natural, gids: v.pipe(v.array(natural), v.maxLength(65_536)) })

/** No user's number. */
export const NOBODY = 0xffff_ffff

const READ = 4
const SEARCH = 1

/** The user of this number; null where that user may read whatever the agent may: the agent's own, and root. */
export const readerOf = (uid: number, gids: readonly number[] = []): Reader | null =>
  uid === 0 || uid === process.getuid?.() ? null : { uid, gids }

/** Most symbolic links that one path is followed through, as the kernel does. */
const LINKS_MAX = 40

/** Users to whom a path belongs, each folder, link and file on the way; null where it leads to nothing. */
const ownersOf = async (place: string): Promise<number[] | null> => {
  const owners: number[] = []
  const left = path.resolve(place).split(path.sep).filter(Boolean)
  try {
    let links = 0
    for (let at = '/'; ;) {
      const found = await lstat(at)
      owners.push(found.uid)
      if (found.isSymbolicLink()) {
        if (++links > LINKS_MAX) return null
        left.unshift(
          ...path
            .resolve(path.dirname(at), await readlink(at))
            .split(path.sep)
            .filter(Boolean),
        )
        at = '/'
      } else if (left.length === 0) return owners
      at = path.join(at, left.shift() ?? '')
    }
  } catch {
    return null
  }
}

/**
 * The user whose libvirt a uri means: who has its socket, or a folder on the way to it, and so may put another one there. Null
 * where it is the system's or the agent's own; nobody where none is there any more.
 */
export const readerOfLibvirt = async (uri: string): Promise<Reader | null> => {
  const { name, sockets } = parseLibvirtUri(uri)
  if (name === 'qemu:///system') return null
  for (const socket of sockets) {
    const owners = await ownersOf(socket)
    if (owners === null) continue
    for (const uid of owners) if (readerOf(uid) !== null) return readerOf(uid)
    return null
  }
  return { uid: NOBODY, gids: [] }
}

const allows = (
  { uid, gids }: Reader,
  { mode, ...found }: Pick<Stats, 'mode' | 'uid' | 'gid'>,
  wanted: number,
): boolean => {
  const shift = found.uid === uid ? 6 : gids.includes(found.gid) ? 3 : 0
  return ((mode >> shift) & wanted) === wanted
}

/**
 * Whether a user may read a file or folder at a path without links, as the modes on the way to it say; `opened` is the file
 * itself where it is open, whatever is at its path by now.
 */
export const mayRead = async (reader: Reader, place: string, opened: Stats | null = null): Promise<boolean> => {
  const found = opened ?? (await stat(place))
  if (!allows(reader, found, found.isDirectory() ? READ | SEARCH : READ)) return false
  for (let folder = path.dirname(place); ; folder = path.dirname(folder)) {
    if (!allows(reader, await stat(folder), SEARCH)) return false
    if (folder === path.dirname(folder)) return true
  }
}

/** Why something is not attached that was named by somebody who may not read it. */
export const notTheirs = ({ uid }: Reader): string =>
  `user ${uid}, whose program names it, may not read it; name it in the machine's attach if it belongs to the machine`

/** The first file or block device that a process has open and a user may not read, by its path; null for none. */
export const openedButNotTheirs = async (
  reader: Reader,
  pid: number,
  isOwn: (place: string) => boolean,
): Promise<string | null> => {
  const folder = `/proc/${pid}/fd`
  for (const descriptor of await readdir(folder)) {
    const found = await stat(path.join(folder, descriptor)).catch(() => null)
    // one that was closed meanwhile is read no more
    if (found === null || !(found.isFile() || found.isBlockDevice())) continue
    const place = await readlink(path.join(folder, descriptor)).catch(() => null)
    if (place === null || isOwn(place)) continue
    if (!(await mayRead(reader, place, found).catch(() => false))) return place
  }
  return null
}
