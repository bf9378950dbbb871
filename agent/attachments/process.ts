// The process that listens on a UNIX socket, and what it was started with.
import { readdir, readFile, readlink, realpath } from 'node:fs/promises'
import { NOBODY, readerOf, type Reader } from './reader.ts'
import { parseUnixSockets } from '../processes/unix-sockets.ts'

/** Longest command line that is taken, in bytes. */
const COMMAND_BYTES_MAX = 1024 * 1024

/** The program with its arguments and its user, or why they are not known, as a sentence without a subject. */
export type FoundCommand =
  { readonly args: readonly string[]; readonly reader: Reader | null } | { readonly missing: string }

/** The user a process has effectively, and its groups; one that cannot be read is nobody. */
const readerOfProcess = async (folder: string): Promise<Reader | null> => {
  const status = await readFile(`${folder}/status`, 'latin1').catch(() => '')
  const numbers = (key: string): number[] =>
    (new RegExp(`^${key}:(.*)$`, 'mu').exec(status)?.[1] ?? '').trim().split(/\s+/u).filter(Boolean).map(Number)
  const [, uid = NOBODY] = numbers('Uid')
  const [, gid = NOBODY] = numbers('Gid')
  return readerOf(uid, [gid, ...numbers('Groups')])
}

const hasInode = async (folder: string, wanted: ReadonlySet<string>): Promise<boolean | null> => {
  let descriptors: string[]
  try {
    descriptors = await readdir(`${folder}/fd`)
  } catch (error) {
    // ended meanwhile, or another user's
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? null : false
  }
  for (const descriptor of descriptors) {
    const link = await readlink(`${folder}/fd/${descriptor}`).catch(() => '')
    if (wanted.has(/^socket:\[(\d+)\]$/u.exec(link)?.[1] ?? '')) return true
  }
  return false
}

/** The command line of the process that listens on a socket of this path. */
export const commandOfListener = async (socketPath: string, proc = '/proc'): Promise<FoundCommand> => {
  const names = new Set([socketPath, await realpath(socketPath).catch(() => socketPath)])
  const list = await readFile(`${proc}/net/unix`, 'utf8').catch(() => '')
  const wanted = new Set(
    parseUnixSockets(list)
      .filter(({ path, isListening }) => isListening && names.has(path))
      .map(({ inode }) => inode),
  )
  if (wanted.size === 0) return { missing: `no process of this host listens on ${socketPath}` }
  // one whose file was replaced, or a name with a line break in it that forges a row: which one QEMU has cannot be told
  if (wanted.size > 1) return { missing: `more than one socket listens on ${socketPath}` }
  let hidden = false
  for (const pid of await readdir(proc)) {
    if (!/^\d+$/u.test(pid)) continue
    const found = await hasInode(`${proc}/${pid}`, wanted)
    hidden ||= found === null
    if (found !== true) continue
    const text = await readFile(`${proc}/${pid}/cmdline`, 'utf8').catch(() => '')
    if (text === '') continue
    if (Buffer.byteLength(text) > COMMAND_BYTES_MAX) return { missing: `it has more than ${COMMAND_BYTES_MAX} bytes` }
    return { args: text.replace(/\0$/u, '').split('\0'), reader: await readerOfProcess(`${proc}/${pid}`) }
  }
  const why = hidden ? ': the agent may not look at the processes of other users' : ''
  return { missing: `the process that listens on ${socketPath} was not found${why}` }
}
