// Which libvirt a uri means: qemu:///system or qemu:///session of this host, and the sockets where it listens.
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { SOCKET_PATH_BYTES_MAX } from '../socket-path.ts'

/** Longest uri, in characters. */
const URI_CHARS_MAX = 1024

export interface LibvirtUri {
  /** As the daemon is asked for it: without the socket. */
  readonly name: 'qemu:///system' | 'qemu:///session'
  /** Where it may listen; the first that accepts a connection is taken. */
  readonly sockets: readonly string[]
}

export interface LibvirtUriSurroundings {
  /** Where the user's own daemons listen; undefined where the system has none. */
  readonly runtimeFolder: string | undefined
  readonly uid: number
}

const surroundingsNow = (): LibvirtUriSurroundings => ({
  runtimeFolder: process.env['XDG_RUNTIME_DIR'],
  uid: process.getuid?.() ?? 0,
})

const invalid = (uri: string, why: string): VarveError =>
  new VarveError('CONFIG_INVALID', `the libvirt uri ${JSON.stringify(uri.slice(0, URI_CHARS_MAX))} ${why}`)

/** A modular daemon's socket before the one of libvirtd, as libvirt's own clients choose. */
const socketsIn = (folder: string): string[] => [path.join(folder, 'virtqemud-sock'), path.join(folder, 'libvirt-sock')]

const socketOf = (uri: string, query: string): string => {
  const pairs = [...new URLSearchParams(query)]
  const [pair, ...others] = pairs
  if (pair?.[0] !== 'socket' || others.length > 0) throw invalid(uri, 'has a parameter other than "socket"')
  const [, socket] = pair
  if (!path.isAbsolute(socket)) throw invalid(uri, 'must name its socket by an absolute path')
  if (Buffer.byteLength(socket) > SOCKET_PATH_BYTES_MAX) {
    const sentence = `names a socket whose path is longer than ${SOCKET_PATH_BYTES_MAX} bytes; a symbolic link makes it shorter`
    throw invalid(uri, sentence)
  }
  return socket
}

/** Reads a uri of the configuration. CONFIG_INVALID with what to write instead. */
export const parseLibvirtUri = (uri: string, surroundings = surroundingsNow()): LibvirtUri => {
  const match = /^qemu(?:\+unix)?:\/\/\/(system|session)(?:\?(.*))?$/su.exec(uri)
  if (match === null || uri.length > URI_CHARS_MAX) {
    const sentence =
      'is none that Varve reads: it takes qemu:///system and qemu:///session of this host, both with ?socket=/path; ' +
      'an agent on each host backs up that host’s machines'
    throw invalid(uri, sentence)
  }
  const name = match[1] === 'system' ? 'qemu:///system' : 'qemu:///session'
  const query = match[2] ?? ''
  if (query !== '') return { name, sockets: [socketOf(uri, query)] }
  if (name === 'qemu:///system') return { name, sockets: socketsIn('/run/libvirt') }
  const { runtimeFolder = `/run/user/${surroundings.uid}`, uid } = surroundings
  if (uid === 0) throw invalid(uri, 'means the daemon of one user, and root has none: name it by ?socket=/path')
  return { name, sockets: socketsIn(path.join(runtimeFolder, 'libvirt')) }
}
