// Who has a machine's disks open, and how such a machine is backed up.

import { realpath } from 'node:fs/promises'
import { basename } from 'node:path'
import { VarveError } from '../../../protocol/errors.ts'
import { fileKey, findOpeners, type FileKey, type Opener } from '../../restore/openers.ts'
import type { DiskKey } from './keys.ts'

const describe = ({ pid, name, guest }: Opener): string =>
  guest === null ? `${name} (process ${pid})` : `${name} (process ${pid}), which runs the machine "${guest}"`

const LIVE_WAY =
  'a machine that runs is read live: give its [[machine]] "qmp" (its monitor\'s socket) or "domain" (its name in libvirt)'

/** What says who has the disk. */
const holderText = (openers: readonly Opener[]): string =>
  openers.length === 0
    ? 'a process that this host does not show (in a container, of another user, or on another host that shares the storage)'
    : openers.slice(0, 3).map(describe).join('; ')

/** DISK_IN_USE: another process has the disk, with its name and the way out. */
export const diskInUse = async (disk: DiskKey, except: ReadonlySet<number>, cause?: unknown): Promise<VarveError> => {
  const openers = await openersOf([disk.path], except, false)
  const holder = openers[0]
  return new VarveError(
    'DISK_IN_USE',
    `disk ${disk.name} (${disk.path}) cannot be read as that of a machine that is off: it is held by ${holderText(openers)}; ${LIVE_WAY}`,
    {
      details: {
        disk: disk.name,
        pid: holder?.pid ?? null,
        process: holder?.name ?? null,
        machine: holder?.guest ?? null,
      },
      cause,
    },
  )
}

/** Names under which a process may have one of the files open: their own, and any device's. */
const nameTest = async (files: readonly string[]): Promise<(file: string) => boolean> => {
  const real = await Promise.all(files.map((file) => realpath(file).catch(() => file)))
  const names = new Set([...files, ...real].map((file) => basename(file)))
  return (file) => file.startsWith('/dev/') || names.has(basename(file))
}

/** Processes that have one of the files or devices open; those that write them, or all. */
export const openersOf = async (
  files: readonly string[],
  except: ReadonlySet<number>,
  onlyWriters: boolean,
): Promise<readonly Opener[]> => {
  const found = await Promise.all(files.map(fileKey))
  const wanted = new Set(found.filter((key): key is FileKey => key !== null))
  const none = new Set<FileKey>()
  const mayBe = await nameTest(files)
  const keys = onlyWriters ? { any: none, writers: wanted } : { any: wanted, writers: none }
  return await findOpeners({ ...keys, mayBe }, except)
}

/** The first of the disks that a process has open for writing; null for none. */
export const findWritten = async (disks: readonly DiskKey[]): Promise<DiskKey | null> => {
  const all = disks.map(({ path }) => path)
  // mostly there is none, and the processes are looked at once
  if (all.length === 0 || (await openersOf(all, new Set(), true)).length === 0) return null
  for (const disk of disks) if ((await openersOf([disk.path], new Set(), true)).length > 0) return disk
  return null
}

/**
 * DISK_IN_USE for a disk that a process has open for writing, whatever it does with QEMU's lock: a machine with `locking=off`
 * takes none, and one in a mount namespace of its own (libvirt's) has another file for the same device, with a lock of its own.
 */
export const refuseWritten = async (disks: readonly DiskKey[]): Promise<void> => {
  const written = await findWritten(disks)
  if (written !== null) throw await diskInUse(written, new Set())
}
