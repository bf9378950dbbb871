// On whose behalf a file is read that the agent did not choose: what a QEMU or a user's libvirt names must be theirs to read.
import type { Stats } from 'node:fs'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { parseLibvirtUri } from '../libvirt/uri.ts'

/** A user of this host, with the groups in which it is known to be. */
export interface Reader {
  readonly uid: number
  readonly gids: readonly number[]
}

const READ = 4
const SEARCH = 1

/** The user of this number; null where that user may read whatever the agent may: the agent's own, and root. */
export const readerOf = (uid: number, gids: readonly number[] = []): Reader | null =>
  uid === 0 || uid === process.getuid?.() ? null : { uid, gids }

/** The user whose libvirt a uri means: who has its socket. Null where it is the system's or the agent's own. */
export const readerOfLibvirt = async (uri: string): Promise<Reader | null> => {
  const { name, sockets } = parseLibvirtUri(uri)
  if (name === 'qemu:///system') return null
  for (const socket of sockets) {
    const found = await stat(socket).catch(() => null)
    if (found !== null) return readerOf(found.uid)
  }
  return null
}

const allows = (
  { uid, gids }: Reader,
  { mode, ...found }: Pick<Stats, 'mode' | 'uid' | 'gid'>,
  wanted: number,
): boolean => {
  const shift = found.uid === uid ? 6 : gids.includes(found.gid) ? 3 : 0
  return ((mode >> shift) & wanted) === wanted
}

/** Whether a user may read a file or folder at a path without links, as the modes on the way to it say. */
export const mayRead = async (reader: Reader, place: string): Promise<boolean> => {
  const found = await stat(place)
  if (!allows(reader, found, found.isDirectory() ? READ | SEARCH : READ)) return false
  for (let folder = path.dirname(place); ; folder = path.dirname(folder)) {
    if (!allows(reader, await stat(folder), SEARCH)) return false
    if (folder === path.dirname(folder)) return true
  }
}

/** Why something is not attached that was named by somebody who may not read it. */
export const notTheirs = ({ uid }: Reader): string =>
  `user ${uid}, whose program names it, may not read it; name it in the machine's attach if it belongs to the machine`
