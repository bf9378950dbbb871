// A lock of a folder that cannot be unlinked: a name in the kernel for the folder, independent of its path.
import { statSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { VarveError } from '../../protocol/errors.ts'
import { hasCode } from '../../protocol/host/system-error.ts'

/** An abstract socket name of Linux: it is no file, it is unique, and it ends with its process. */
const nameOf = (folder: string): string => {
  const { dev, ino } = statSync(folder, { bigint: true })
  return `\0varve-gateway-${dev}-${ino}`
}

const listen = (name: string): Promise<Server> =>
  new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', reject)
    server.listen({ path: name }, () => {
      server.unref()
      resolve(server)
    })
  })

const close = (server: Server): Promise<void> => new Promise((resolve) => void server.close(() => resolve()))

/** Held until its disposal or the end of the process, however it ends. */
export class FolderLock implements AsyncDisposable {
  readonly #server: Server | null

  private constructor(server: Server | null) {
    this.#server = server
  }

  /**
   * STORE_LOCKED while another gateway has this folder, also where the lock's file was removed or the folder has another path.
   */
  static async take(folder: string): Promise<FolderLock> {
    // other systems have the lock's file only
    if (process.platform !== 'linux') return new FolderLock(null)
    try {
      return new FolderLock(await listen(nameOf(folder)))
    } catch (cause) {
      if (!hasCode(cause, 'EADDRINUSE')) throw cause
      throw new VarveError(
        'STORE_LOCKED',
        'another gateway, or a command that works on it alone, has this data folder or its packs open (its lock was removed, or it uses another path): stop it first',
        { cause },
      )
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server !== null) await close(this.#server)
  }
}
