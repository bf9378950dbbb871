// A Unix socket in a folder under a name that the system accepts, however long the folder's path is.
import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import path from 'node:path'

/** Longest path of a Unix socket, in bytes (`sun_path` of Linux without the final zero). */
const SOCKET_PATH_BYTES_MAX = 107

/** The path is good until this is disposed of. */
export class SocketPath implements AsyncDisposable {
  readonly path: string
  readonly #folder: FileHandle | null

  private constructor(socket: string, folder: FileHandle | null) {
    this.path = socket
    this.#folder = folder
  }

  /** A path past the system's limit is reached through an open folder; ENOENT where there is no folder. */
  static async of(folder: string, name: string): Promise<SocketPath> {
    const socket = path.join(path.resolve(folder), name)
    if (Buffer.byteLength(socket) <= SOCKET_PATH_BYTES_MAX) return new SocketPath(socket, null)
    const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY)
    return new SocketPath(`/proc/self/fd/${handle.fd}/${name}`, handle)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folder?.close()
  }
}
