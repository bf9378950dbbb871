// A second lock of a data folder, which nobody can unlink: names in the kernel that stand for the folder and its packs, whatever path led to them.
import { existsSync, statSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { PACKS_NAME } from './layout.ts'
import { hasCode } from '../../protocol/host/system-error.ts'

/** A socket's name of Linux's abstract kind: it is no file, it is there once, and it goes with its process. */
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

/** Held from its taking to its disposal, or to the end of the process, however it ends. */
export class FolderLock implements AsyncDisposable {
  readonly #folder: string
  /** By their names. */
  readonly #servers = new Map<string, Server>()

  private constructor(folder: string) {
    this.#folder = folder
  }

  /** STORE_LOCKED while another gateway has this folder, or these packs, also where the lock's file was removed or the folder has another path. */
  static async take(folder: string): Promise<FolderLock> {
    const lock = new FolderLock(folder)
    await lock.extend()
    return lock
  }

  /** Takes what was made, or mounted, since it was taken; STORE_LOCKED as above, and then nothing is held any more. */
  async extend(): Promise<void> {
    // elsewhere there is the lock's file only
    if (process.platform !== 'linux') return
    try {
      for (const part of [this.#folder, path.join(this.#folder, PACKS_NAME)]) {
        const name = existsSync(part) ? nameOf(part) : null
        if (name !== null && !this.#servers.has(name)) this.#servers.set(name, await listen(name))
      }
    } catch (cause) {
      await this[Symbol.asyncDispose]()
      if (!hasCode(cause, 'EADDRINUSE')) throw cause
      throw new VarveError(
        'STORE_LOCKED',
        'another gateway, or a command that works on it alone, has this data folder or its packs open (its lock was removed, or it knows the folder by another path)',
        { cause },
      )
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#servers.values()].map(close))
    this.#servers.clear()
  }
}
