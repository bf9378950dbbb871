// The UNIX sockets of a network namespace, as /proc/PID/net/unix lists them: who listens, and who is connected. Pure.

export interface UnixSocket {
  /** 0 for a connection that is not accepted yet. */
  readonly inode: string
  /** As it was given to bind, which may be relative. */
  readonly path: string
  readonly isListening: boolean
  /** Also when it is not accepted yet. */
  readonly isConnected: boolean
}

/** Flag of a socket that listens. */
const LISTENS = 0x10000

/** States of a socket that has a peer: one that waits to be accepted, and one that is. */
const CONNECTED: ReadonlySet<string> = new Set(['02', '03'])

const ROW = /^[0-9a-f]+: [0-9A-F]+ [0-9A-F]+ ([0-9A-F]+) [0-9A-F]+ ([0-9A-F]+) +(\d+) (.+)$/u

/** Those that have a path. */
export const parseUnixSockets = (text: string): readonly UnixSocket[] =>
  text.split('\n').flatMap((line) => {
    const [, flags = '0', state, inode, path] = ROW.exec(line) ?? []
    if (inode === undefined || path === undefined) return []
    const isListening = (Number.parseInt(flags, 16) & LISTENS) !== 0
    return [{ inode, path, isListening, isConnected: CONNECTED.has(state ?? '') }]
  })
