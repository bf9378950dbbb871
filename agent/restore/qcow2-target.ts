// A qcow2 target: qemu-img makes the file, qemu-nbd serves it on a private socket, and it gets its name when it is whole.
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { NbdClient } from '../nbd/client.ts'
import { publish, targetError, temporaryName } from './raw-target.ts'
import type { Target } from './target.ts'

const START_TIMEOUT_MS = 10_000
const START_POLL_MS = 20
const EXPORT = 'disk'

const run = promisify(execFile)

const toolError = (tool: string, error: unknown): VarveError => {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOENT')
    return new VarveError(
      'TOOL_MISSING',
      `${tool} is needed to write qcow2 and is not installed (Debian: apt-get install qemu-utils)`,
    )
  return new VarveError('TARGET_INVALID', `${tool}: ${message.trim().split('\n').at(-1) ?? ''}`, { cause: error })
}

const writeError = (final: string, error: unknown): VarveError => {
  const full = error instanceof VarveError && error.details['errno'] === 'ENOSPC'
  return full
    ? new VarveError('TARGET_INVALID', `cannot write ${final}: no space left`, { cause: error })
    : asVarveError(error)
}

export class Qcow2Target implements Target {
  readonly #temporary: string
  readonly #final: string
  readonly #force: boolean
  readonly #resources: AsyncDisposableStack
  #nbd!: NbdClient
  #server!: ChildProcess
  #committed = false

  private constructor(final: string, force: boolean) {
    this.#final = final
    this.#temporary = temporaryName(final)
    this.#force = force
    this.#resources = new AsyncDisposableStack()
  }

  static async create(final: string, size: number, force: boolean): Promise<Qcow2Target> {
    const target = new Qcow2Target(final, force)
    try {
      await target.#open(size)
      return target
    } catch (error) {
      await target[Symbol.asyncDispose]()
      throw error
    }
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    try {
      await this.#nbd.write(offset, bytes)
    } catch (error) {
      throw writeError(this.#final, error)
    }
  }

  /** The image is new and empty: its clusters read as zeroes already. */
  async zero(): Promise<void> {}

  async commit(): Promise<void> {
    try {
      await this.#nbd.flush()
    } catch (error) {
      throw writeError(this.#final, error)
    }
    await this.#stop()
    const { exitCode } = this.#server
    if (exitCode !== 0) throw toolError('qemu-nbd', new Error(`it ended with ${exitCode ?? 'a signal'}`))
    {
      await using file = await open(this.#temporary, 'r')
      await file.sync()
    }
    await publish(this.#temporary, this.#final, this.#force)
    this.#committed = true
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
    if (!this.#committed) await rm(this.#temporary, { force: true })
  }

  async #open(size: number): Promise<void> {
    try {
      // made here and not by qemu-img, which would let everyone read it
      await (await open(this.#temporary, 'wx', 0o600)).close()
    } catch (error) {
      throw targetError(`cannot write beside ${this.#final}`, error)
    }
    try {
      await run('qemu-img', ['create', '-q', '-f', 'qcow2', this.#temporary, String(size)])
    } catch (error) {
      throw toolError('qemu-img', error)
    }
    const folder = await mkdtemp(path.join(tmpdir(), 'varve-'))
    this.#resources.defer(() => rm(folder, { recursive: true, force: true }))
    const socketPath = path.join(folder, 'nbd')
    // not --persistent: it ends by itself when the connection of a killed agent does
    const args = ['--format=qcow2', '--discard=unmap', '-x', EXPORT, '-k', socketPath, this.#temporary]
    const server = spawn('qemu-nbd', args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true })
    this.#server = server
    let stderr = ''
    server.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-4096)))
    let failure: unknown = null
    server.on('error', (error) => (failure = error))
    this.#resources.defer(() => this.#stop())
    const deadline = performance.now() + START_TIMEOUT_MS
    while (true) {
      if (failure !== null) throw toolError('qemu-nbd', failure)
      if (server.exitCode !== null) throw toolError('qemu-nbd', new Error(stderr))
      try {
        this.#nbd = this.#resources.use(await NbdClient.connect({ socketPath, exportName: EXPORT, contexts: [] }))
        return
      } catch (error) {
        if (performance.now() > deadline) throw error
        await new Promise((resolve) => setTimeout(resolve, START_POLL_MS))
      }
    }
  }

  async #stop(): Promise<void> {
    const server = this.#server
    if (server.exitCode !== null || server.signalCode !== null || server.pid === undefined) return
    const exited = new Promise<void>((resolve) => server.once('exit', () => resolve()))
    // qemu-nbd closes the image cleanly on SIGTERM
    server.kill('SIGTERM')
    await exited
  }
}
