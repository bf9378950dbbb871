// The QEMU processes of this host, from /proc: what each is told, and whether its monitors can be used. Disturbs none of them.
import { constants } from 'node:fs'
import { access, open, readdir, readFile, readlink, stat } from 'node:fs/promises'
import path from 'node:path'
import { readCommand, type QemuCommand } from '../processes/qemu-command.ts'
import { parseUnixSockets, type UnixSocket } from '../processes/unix-sockets.ts'

/** Longest command line that is looked at, in bytes. */
const COMMAND_BYTES_MAX = 256 * 1024

/** QEMU processes that are looked at; more machines than an agent takes. */
const QEMUS_MAX = 4096

/** Largest list of sockets that is read, in bytes. */
const SOCKETS_BYTES_MAX = 64 * 1024 * 1024

const PROGRAM = /^(?:qemu-system-[\w-]+|qemu-kvm|kvm|qemu)$/u

/**
 * `free`: a client may connect. `held`: another one is connected or waits, and QEMU serves one. `absent`: nothing listens
 * at this path. `elsewhere`: in a container or another root. `forbidden`: this user may not connect. `unknown`: not visible.
 */
export type SocketState = 'free' | 'held' | 'absent' | 'elsewhere' | 'forbidden' | 'unknown'

export interface FoundSocket {
  /** Absolute; as it was given where the process's folder is not visible. */
  readonly path: string
  readonly state: SocketState
}

export interface FoundMonitor extends FoundSocket {
  /** Why nobody can connect to it, whatever its state; null where one can. */
  readonly closed: string | null
}

export interface FoundQemu extends Omit<QemuCommand, 'monitors' | 'guestAgent'> {
  readonly pid: number
  /** The user it runs as; null where that is not visible. */
  readonly uid: number | null
  readonly monitors: readonly FoundMonitor[]
  readonly guestAgent: FoundSocket | null
}

export interface HostQemus {
  readonly qemus: readonly FoundQemu[]
  /** Processes looked at. */
  readonly processes: number
  /** What could not be seen, each a sentence. */
  readonly unseen: readonly string[]
}

/** At most `limit` bytes of a file of /proc; null where it cannot be read. */
const readSome = async (file: string, limit: number): Promise<Buffer | null> => {
  try {
    await using handle = await open(file)
    const parts: Buffer[] = []
    for (let bytes = 0; bytes < limit;) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(64 * 1024))
      if (bytesRead === 0) break
      parts.push(buffer.subarray(0, bytesRead))
      bytes += bytesRead
    }
    return Buffer.concat(parts).subarray(0, limit)
  } catch {
    return null
  }
}

const linkOf = (file: string): Promise<string | null> => readlink(file).catch(() => null)

/** The program of a process: the file that runs where that is visible, else what it calls itself. */
const isQemu = async (folder: string, argument: string): Promise<boolean> => {
  const file = (await linkOf(`${folder}/exe`))?.replace(/ \(deleted\)$/u, '')
  return PROGRAM.test(path.basename(file ?? argument))
}

/** Inodes of the sockets of a process; null where they are not visible. */
const socketsOf = async (folder: string): Promise<ReadonlySet<string> | null> => {
  try {
    const links = await Promise.all((await readdir(`${folder}/fd`)).map((fd) => linkOf(`${folder}/fd/${fd}`)))
    return new Set(links.flatMap((link) => /^socket:\[(\d+)\]$/u.exec(link ?? '')?.[1] ?? []))
  } catch {
    return null
  }
}

const identity = async (file: string): Promise<string | null> => {
  try {
    const { dev, ino } = await stat(file, { bigint: true })
    return `${dev}:${ino}`
  } catch (error) {
    // what may not be looked at may well be there
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? 'hidden' : null
  }
}

/** One process as its sockets are judged. */
interface Process {
  readonly folder: string
  /** Its working folder; null where that is not visible. */
  readonly cwd: string | null
  readonly inodes: ReadonlySet<string> | null
  readonly sockets: readonly UnixSocket[]
}

const stateOf = async ({ folder, inodes, sockets }: Process, given: string, file: string): Promise<SocketState> => {
  const isIts = ({ inode }: UnixSocket): boolean => inodes === null || inodes.has(inode)
  const rows = sockets.filter((row) => row.path === given)
  if (!rows.some((row) => row.isListening && isIts(row))) return 'absent'
  if (!path.isAbsolute(file)) return 'unknown'
  const [here, its] = [await identity(file), await identity(`${folder}/root${file}`)]
  if (here === null) return its === null ? 'absent' : 'elsewhere'
  if (its !== null && its !== 'hidden' && here !== 'hidden' && its !== here) return 'elsewhere'
  if (rows.some((row) => row.isConnected && (row.inode === '0' || isIts(row)))) return 'held'
  try {
    await access(file, constants.R_OK | constants.W_OK)
    return 'free'
  } catch {
    return 'forbidden'
  }
}

const socketFound = async (process: Process, given: string): Promise<FoundSocket> => {
  const file = process.cwd === null ? given : path.resolve(process.cwd, given)
  return { path: file, state: await stateOf(process, given, file) }
}

const findQemu = async (folder: string, pid: number, args: readonly string[]): Promise<FoundQemu> => {
  const { monitors, guestAgent, disks, ...command } = readCommand(args)
  const list = await readSome(`${folder}/net/unix`, SOCKETS_BYTES_MAX)
  const cwd = await linkOf(`${folder}/cwd`)
  const process: Process = {
    folder,
    cwd,
    inodes: await socketsOf(folder),
    sockets: parseUnixSockets(list?.toString('utf8') ?? ''),
  }
  const uid = await stat(folder).then(
    (found) => found.uid,
    () => null,
  )
  return {
    ...command,
    pid,
    uid,
    disks: disks.map((disk) => ({ ...disk, path: cwd === null ? disk.path : path.resolve(cwd, disk.path) })),
    monitors: await Promise.all(
      monitors.map(async ({ path: given, closed }) => ({
        closed,
        ...(given === null ? { path: '', state: 'unknown' as const } : await socketFound(process, given)),
      })),
    ),
    guestAgent: guestAgent === null ? null : await socketFound(process, guestAgent),
  }
}

/** Whether processes of other users are hidden from this one, as `mount -o hidepid=2` does. */
const hidesOthers = async (proc: string): Promise<boolean> => {
  const options = await readFile(`${proc}/self/mountinfo`, 'utf8').catch(() => '')
  return process.getuid?.() !== 0 && / \/proc .*hidepid=(?:[12]|noaccess|invisible|4|ptraceable)/u.test(options)
}

/** Every QEMU of this host that this user can see. */
export const findQemus = async (proc = '/proc'): Promise<HostQemus> => {
  const pids = (await readdir(proc)).filter((name) => /^\d+$/u.test(name)).map(Number)
  const qemus: FoundQemu[] = []
  for (const pid of pids) {
    const folder = `${proc}/${pid}`
    const text = (await readSome(`${folder}/cmdline`, COMMAND_BYTES_MAX))?.toString('utf8') ?? ''
    // threads of the kernel, and what has just ended, have none
    const [program = '', ...args] = text.replace(/\0$/u, '').split('\0')
    if (program === '' || qemus.length >= QEMUS_MAX || !(await isQemu(folder, program))) continue
    qemus.push(await findQemu(folder, pid, args))
  }
  const unseen: string[] = []
  if (await hidesOthers(proc))
    unseen.push('processes of other users are hidden from this one (hidepid): run this as root')
  const blind = qemus.filter(({ monitors }) =>
    monitors.some(({ state }) => state === 'unknown' || state === 'forbidden'),
  )
  if (blind.length > 0 && process.getuid?.() !== 0)
    unseen.push(
      `of ${blind.length} QEMU ${blind.length === 1 ? 'process' : 'processes'} of other users not everything is visible: run this as root`,
    )
  return { qemus, processes: pids.length, unseen }
}
