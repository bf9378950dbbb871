// The socket of a lease's NBD server, which is closed to new clients, and left by all of them, before QEMU ends the server.
//
// A QEMU with the mend of CVE-2024-7409 ends its server only when every client has left. One that is still shaking hands
// cannot before QEMU 8.2, as nothing looks at its socket meanwhile: QEMU stands still for good, and its guest with it.
import { readFile, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseUnixSockets, type UnixSocket } from '../processes/unix-sockets.ts'

/** How long a client may be connected that is still shaking hands, in milliseconds: QEMU gives it 10 s. */
export const HANDSHAKES_LIMIT_MS = 11_000

/** Pause between two looks whether all clients have left, in milliseconds. */
const LOOK_PAUSE_MS = 50

const LIST = '/proc/net/unix'

/** How often the list is read: one that changes meanwhile may miss a row. */
const READS = 2

const listed = async (isWanted: (socket: UnixSocket) => boolean): Promise<boolean> => {
  for (let read = 0; read < READS; read += 1) {
    if (parseUnixSockets(await readFile(LIST, 'utf8')).some(isWanted)) return true
  }
  return false
}

/** Where the socket of a closed door is; no longer than where it was, as a socket's path may not be long. */
export const behindDoor = (socketPath: string): string => join(dirname(socketPath), 'end')

/** Whether a process listens on a socket that was bound to this path; one in another network namespace is not seen. */
export const isListenerSeen = (socketPath: string): Promise<boolean> =>
  listed(({ path, isListening }) => isListening && path === socketPath).catch(() => false)

/**
 * Whether a process of this network namespace is connected to a socket that was bound to this path, or waits to be; null where
 * the kernel's list cannot be read. One that has closed its end counts until the server knows.
 */
export const hasClients = (socketPath: string): Promise<boolean | null> =>
  listed(({ path, isConnected }) => isConnected && path === socketPath).catch(() => null)

/** No server listens there any more, or the folder is another user's: a lease has to end all the same. */
const LEFT_OPEN: ReadonlySet<string | undefined> = new Set(['ENOENT', 'EACCES', 'EPERM', 'EROFS'])

/** Lets nobody connect any more, whether or not the server still listens. */
export const closeDoor = async (socketPath: string): Promise<void> => {
  try {
    await rename(socketPath, behindDoor(socketPath))
  } catch (error) {
    if (!LEFT_OPEN.has((error as NodeJS.ErrnoException).code)) throw error
  }
}

/** A door that was closed, before a server that is to end. */
export class ClosedDoor {
  readonly #socketPath: string
  readonly #closedMs = performance.now()
  readonly #look: typeof hasClients

  private constructor(socketPath: string, look: typeof hasClients) {
    this.#socketPath = socketPath
    this.#look = look
  }

  static async close(socketPath: string, look = hasClients): Promise<ClosedDoor> {
    await closeDoor(socketPath)
    return new ClosedDoor(socketPath, look)
  }

  /**
   * Whether the server may be ended: all clients have left, or it has been closed for so long that those who stay, or who cannot
   * be seen, can no longer be shaking hands.
   */
  async isClear(limitMs = HANDSHAKES_LIMIT_MS): Promise<boolean> {
    return performance.now() - this.#closedMs >= limitMs || (await this.#look(this.#socketPath)) === false
  }

  /** Waits until the server may be ended. */
  async clear(limitMs = HANDSHAKES_LIMIT_MS): Promise<void> {
    while (!(await this.isClear(limitMs))) await sleep(LOOK_PAUSE_MS)
  }
}
