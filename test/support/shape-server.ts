// A program that serves a disk on a socket, for machines whose storage is not in a file of their own.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { isListenerSeen } from '../../agent/drivers/nbd-door.ts'
import { eventually } from './temp.ts'

export class DiskServer implements AsyncDisposable {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  /** Resolves once it listens. */
  static async start(program: string, args: readonly string[], socket: string): Promise<DiskServer> {
    const child = spawn(program, args, { stdio: 'ignore' })
    await eventually(async () => {
      if (child.exitCode !== null) throw new Error(`${program} ended`)
      return await isListenerSeen(socket)
    })
    return new DiskServer(child)
  }

  /** A raw image by NBD, as the export `disk`. */
  static async nbd(file: string, socket: string): Promise<DiskServer> {
    return await DiskServer.start('qemu-nbd', ['-t', '-f', 'raw', '-e', '8', '-x', 'disk', '-k', socket, file], socket)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}
