// Which process serves an NBD socket: a bitmap that is not stored ends with it, so another one cannot have the same bitmap.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { readdir, readFile, readlink, realpath, stat } from 'node:fs/promises'
import { normalize } from 'node:path'
import { guardEnvironment } from '../../guard-environment.ts'
import { parseUnixSockets } from '../../processes/unix-sockets.ts'
import { markProcess, type ProcessMark } from '../../process-mark.ts'

/**
 * QEMU from here on answers a read or a map rightly that begins in what snapshot-access has copied and ends in what it has not
 * (before 9.0 it gives what the guest has written since), and takes any discard (before 9.2 it ends at a part of a block).
 */
const RIGHT_FROM = [9, 2] as const

/** How long a program may take to say its version, in milliseconds. */
const VERSION_LIMIT_MS = 10_000

const VERSION = /^(?:QEMU emulator version|qemu-storage-daemon version|qemu-nbd) (\d{1,4})\.(\d{1,4})/u

/** Whether a process has the socket of this inode open. */
const hasOpen = async (pid: string, inode: string): Promise<boolean> => {
  const folder = `/proc/${pid}/fd`
  const names = await readdir(folder).catch(() => [])
  for (const name of names)
    if ((await readlink(`${folder}/${name}`).catch(() => '')) === `socket:[${inode}]`) return true
  return false
}

/** The one process that listens at this path; null where that cannot be seen, or there are several. */
export const exporterOf = async (socketPath: string): Promise<ProcessMark | null> => {
  try {
    // a socket is listed as it was bound: that of qemu-server has two slashes in it
    const paths = new Set([normalize(socketPath), await realpath(socketPath)])
    const sockets = parseUnixSockets(await readFile('/proc/self/net/unix', 'utf8'))
    const [socket, second] = sockets.filter(({ path, isListening }) => isListening && paths.has(normalize(path)))
    if (socket === undefined || second !== undefined) return null
    const pids = (await readdir('/proc')).filter((pid) => /^\d+$/u.test(pid))
    const holders: string[] = []
    for (const pid of pids) if (await hasOpen(pid, socket.inode)) holders.push(pid)
    return holders.length === 1 ? markProcess(Number(holders[0])) : null
  } catch {
    return null
  }
}

/** Permission bits by which others than a file's owner may write it. */
const OTHERS_WRITE = 0o022

/** Whether its program is the host's: root's alone, and seen as this process sees it. */
export const isOfHost = async (folder: string): Promise<boolean> => {
  const { uid, mode } = await stat(`${folder}/exe`)
  const namespaces = await Promise.all([readlink(`${folder}/ns/mnt`), readlink('/proc/self/ns/mnt')])
  return uid === 0 && (mode & OTHERS_WRITE) === 0 && namespaces[0] === namespaces[1]
}

/** Whether it is a QEMU that is known to answer rightly, by what its program says; only one of the host is asked. */
export const answersRightly = async (exporter: ProcessMark | null): Promise<boolean> => {
  if (exporter === null) return false
  try {
    const folder = `/proc/${exporter.pid}`
    if (!(await isOfHost(folder))) return false
    // as its own user
    const { uid, gid } = await stat(folder)
    const options = { uid, gid, timeout: VERSION_LIMIT_MS, maxBuffer: 64 * 1024, env: guardEnvironment() }
    const { stdout } = await promisify(execFile)(`${folder}/exe`, ['--version'], options)
    const [, major = 0, minor = 0] = (VERSION.exec(stdout) ?? []).map(Number)
    return major > RIGHT_FROM[0] || (major === RIGHT_FROM[0] && minor >= RIGHT_FROM[1])
  } catch {
    return false
  }
}
