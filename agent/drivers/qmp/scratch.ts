// Folders and images that a lease needs on the host: scratch space and the place of its sockets.

import { execFile } from 'node:child_process'
import { chown, mkdir, open, stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import { VarveError } from '../../../protocol/errors.ts'
import { hasCode } from '../../../protocol/host/system-error.ts'
import type { QmpEntry } from './entry.ts'
import { qmpPathOf } from './keys.ts'

const execute = promisify(execFile)

/** How long making one scratch image may take, in milliseconds. */
const CREATE_LIMIT_MS = 30_000

export interface Owner {
  readonly uid: number
  readonly gid: number
}

/** The user QEMU runs as, when it is another than ours and we may give files away: the owner of its QMP socket. */
export const otherOwner = async (qmpPath: string): Promise<Owner | null> => {
  if (process.getuid?.() !== 0) return null
  const { uid, gid } = await stat(qmpPath)
  return uid === 0 ? null : { uid, gid }
}

const createImage = async (file: string, size: number): Promise<void> => {
  try {
    await execute('qemu-img', ['create', '-q', '-f', 'qcow2', file, String(size)], { timeout: CREATE_LIMIT_MS })
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') {
      throw new VarveError('TOOL_MISSING', 'qemu-img is not installed (Debian package qemu-utils)', { cause })
    }
    throw new VarveError('SCRATCH_LOW', `qemu-img could not make the scratch image ${file}`, { cause })
  }
}

/** A sparse file of the disk's size. */
const createRaw = async (file: string, size: number): Promise<void> => {
  try {
    await using handle = await open(file, 'wx', 0o600)
    await handle.truncate(size)
  } catch (cause) {
    if (!hasCode(cause, 'EFBIG'))
      throw new VarveError('SCRATCH_LOW', `the scratch file ${file} could not be made`, { cause })
    const sentence = `the file system of ${file} has no files of ${size} bytes: set fleecing = "off" for this machine, or put the agent's state folder elsewhere`
    throw new VarveError('DISK_UNSUPPORTED', sentence, { details: { size }, cause })
  }
}

/** Gives paths of a lease to QEMU's user. */
const giving = async (entry: QmpEntry): Promise<(path: string) => Promise<void>> => {
  const owner = await otherOwner(qmpPathOf(entry.machine))
  return async (path) => {
    if (owner !== null) await chown(path, owner.uid, owner.gid)
  }
}

/** Makes the lease's private folders, readable for QEMU's user where QEMU opens files in them. */
export const makeScratchFolders = async (entry: QmpEntry): Promise<void> => {
  const give = await giving(entry)
  for (const folder of [entry.scratchFolder, entry.socketFolder]) {
    await mkdir(folder, { recursive: false, mode: 0o700 })
    if (entry.mode === 'pull' || folder === entry.socketFolder) await give(folder)
  }
}

/** Makes the lease's empty scratch images in its folder, readable for QEMU's user. */
export const makeScratchImages = async (entry: QmpEntry): Promise<void> => {
  const give = await giving(entry)
  await Promise.all(
    entry.disks.map(async ({ scratchFile, size, access }) => {
      await (access === null ? createImage : createRaw)(scratchFile, size)
      await give(scratchFile)
    }),
  )
}
