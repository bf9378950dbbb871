// Which process serves an NBD socket: a bitmap that is not stored ends with it, so another one cannot have the same bitmap.

import { readdir, readFile, readlink, realpath } from 'node:fs/promises'
import { parseUnixSockets } from '../../processes/unix-sockets.ts'
import { markProcess, type ProcessMark } from '../../process-mark.ts'

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
    const paths = new Set([socketPath, await realpath(socketPath)])
    const sockets = parseUnixSockets(await readFile('/proc/self/net/unix', 'utf8'))
    const [socket, second] = sockets.filter(({ path, isListening }) => isListening && paths.has(path))
    if (socket === undefined || second !== undefined) return null
    const pids = (await readdir('/proc')).filter((pid) => /^\d+$/u.test(pid))
    const holders: string[] = []
    for (const pid of pids) if (await hasOpen(pid, socket.inode)) holders.push(pid)
    return holders.length === 1 ? markProcess(Number(holders[0])) : null
  } catch {
    return null
  }
}
