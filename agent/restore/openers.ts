// Which processes of this host have a file or device open under any name, and which machine a QEMU runs.
import { readdir, readFile, readlink, stat } from 'node:fs/promises'
import path from 'node:path'
import { numberOf } from './block-device.ts'

/** Longest command line that is looked at, in bytes. */
const COMMAND_BYTES_MAX = 256 * 1024

/** Identifies a file or device whatever its name: `f:device:inode`, `b:major:minor`. */
export type FileKey = string

/** The key of a file or device; null for nothing or anything else. */
export const fileKey = async (file: string): Promise<FileKey | null> => {
  try {
    const found = await stat(file, { bigint: true })
    if (found.isBlockDevice()) return deviceKey(numberOf(found.rdev))
    return found.isFile() ? `f:${found.dev}:${found.ino}` : null
  } catch {
    return null
  }
}

export const deviceKey = (number: string): FileKey => `b:${number}`

export interface Wanted {
  /** Any process that has one of these open counts. */
  readonly any: ReadonlySet<FileKey>
  /** Only a process that has one of these open for writing counts. */
  readonly writers: ReadonlySet<FileKey>
  /** Whether the name of an open file may be one of these; the others are not looked at, as one on a dead server would hang. */
  readonly mayBe?: (file: string) => boolean
}

export interface Opener {
  readonly pid: number
  /** The program's name, such as `qemu-system-x86`. */
  readonly name: string
  /** The name that a QEMU was given, null for anything else. */
  readonly guest: string | null
  /** UNIX sockets that it listens on. */
  readonly sockets: readonly string[]
}

const text = async (file: string): Promise<string> => {
  try {
    return (await readFile(file, 'latin1')).slice(0, COMMAND_BYTES_MAX)
  } catch {
    return ''
  }
}

const names = async (folder: string): Promise<string[]> => {
  try {
    return await readdir(folder)
  } catch {
    // exited, or another user's
    return []
  }
}

/** Whether a descriptor is open for writing. */
const writes = async (pid: string, fd: string): Promise<boolean> => {
  const flags = /^flags:\s*([0-7]+)/mu.exec(await text(`/proc/${pid}/fdinfo/${fd}`))?.[1] ?? '0'
  return (Number.parseInt(flags, 8) & 0o3) !== 0
}

/** Whether a process has one of the wanted open. */
const hasOpen = async (pid: string, { any, writers, mayBe = () => true }: Wanted): Promise<boolean> => {
  for (const fd of await names(`/proc/${pid}/fd`)) {
    const link = `/proc/${pid}/fd/${fd}`
    // sockets, pipes and the like have no path
    const named = await readlink(link).catch(() => '')
    if (!named.startsWith('/') || named.startsWith('/proc/') || !mayBe(named)) continue
    const key = await fileKey(link)
    if (key === null) continue
    if (any.has(key) || (writers.has(key) && (await writes(pid, fd)))) return true
  }
  return false
}

/** `db1` of `-name guest=db1,debug-threads=on` or `-name db1`. */
export const guestName = (command: readonly string[]): string | null => {
  const given = command[command.findIndex((argument) => argument === '-name' || argument === '--name') + 1]
  if (given === undefined || !command.some((argument) => /^--?name$/u.test(argument))) return null
  const parts = given.split(',')
  const guest = parts.find((part) => part.startsWith('guest='))?.slice('guest='.length)
  return guest ?? (parts[0]?.includes('=') === false ? parts[0] : null)
}

/** Absolute paths of the UNIX sockets that a process listens on. */
const socketsOf = async (pid: string): Promise<string[]> => {
  const inodes = new Set<string>()
  for (const fd of await names(`/proc/${pid}/fd`)) {
    const inode = /^socket:\[(\d+)\]$/u.exec(await readlink(`/proc/${pid}/fd/${fd}`).catch(() => ''))?.[1]
    if (inode !== undefined) inodes.add(inode)
  }
  const folder = await readlink(`/proc/${pid}/cwd`).catch(() => '/')
  const found: string[] = []
  for (const line of (await text(`/proc/${pid}/net/unix`)).split('\n')) {
    const [, inode = '', file = ''] = /^\S+ \S+ \S+ \S+ \S+ \S+ +(\d+) (.+)$/u.exec(line) ?? []
    if (inodes.has(inode) && !file.startsWith('@')) found.push(path.resolve(folder, file))
  }
  return found
}

const describe = async (pid: string): Promise<Opener> => {
  const name = (await text(`/proc/${pid}/comm`)).trim() || 'a process'
  const command = (await text(`/proc/${pid}/cmdline`)).split('\0')
  const guest = name.startsWith('qemu') || name.startsWith('kvm') ? guestName(command) : null
  return { pid: Number(pid), name, guest, sockets: await socketsOf(pid) }
}

/** Every process but this one and `except` that has one of the wanted open, as far as this user may look. */
export const findOpeners = async (wanted: Wanted, except: ReadonlySet<number>): Promise<Opener[]> => {
  const openers: Opener[] = []
  for (const pid of await names('/proc')) {
    if (!/^\d+$/u.test(pid) || Number(pid) === process.pid || except.has(Number(pid))) continue
    if (await hasOpen(pid, wanted)) openers.push(await describe(pid))
  }
  return openers
}
