// One image served by a qemu-nbd of its own on a private socket, for this process alone; it ends with this process.
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { NbdClient } from '../nbd/client.ts'
import type { TargetFormat } from './format.ts'

const START_TIMEOUT_MS = 10_000
const START_POLL_MS = 20
const SOCKET = 'nbd'

/** Name of the one export. */
export const IMAGE_EXPORT = 'disk'

/** Connections at once: those of all threads that read, and a few for maps and writes. */
const CONNECTIONS_MAX = 16

/** An error of QEMU's tools for images: TOOL_MISSING, or TARGET_INVALID with what it said. */
export const toolError = (tool: string, error: unknown): VarveError => {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOENT')
    return new VarveError(
      'TOOL_MISSING',
      `${tool} is needed to write the image and is not installed (Debian: apt-get install qemu-utils)`,
    )
  const said = message.trim().split('\n').at(-1) ?? ''
  return new VarveError('TARGET_INVALID', `${tool}: ${said.replace(`${tool}: `, '')}`, { cause: error })
}

/** A private folder for one socket. */
const makeSocketFolder = async (): Promise<string> => {
  const parent = tmpdir()
  try {
    return await mkdtemp(path.join(parent, 'varve-'))
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    const why = code === 'ENOENT' ? 'does not exist' : `cannot hold a folder for a socket (${code})`
    throw new VarveError(
      'CONFIG_INVALID',
      `the folder for temporary files, ${parent}, ${why}: set TMPDIR to a folder that this user may write in`,
      { cause: error },
    )
  }
}

export interface ServeOptions {
  /** One of the image's own, whose map is wanted. */
  readonly bitmap?: string | null
  readonly readOnly?: boolean
  /** Of the first connection. */
  readonly contexts?: readonly string[]
}

export class ImageServer implements AsyncDisposable {
  readonly #resources = new AsyncDisposableStack()
  #process!: ChildProcess
  #client!: NbdClient
  #socketPath = ''

  private constructor() {}

  /** TARGET_INVALID with what QEMU says of the image, TOOL_MISSING. */
  static async start(file: string, format: TargetFormat, options: ServeOptions = {}): Promise<ImageServer> {
    const server = new ImageServer()
    try {
      await server.#start(file, format, options)
      return server
    } catch (error) {
      await server[Symbol.asyncDispose]()
      throw error
    }
  }

  /** The first connection: the program ends with the last one. */
  get client(): NbdClient {
    return this.#client
  }

  /** Where further connections of this process find it. */
  get socketPath(): string {
    return this.#socketPath
  }

  get pid(): number {
    return this.#process.pid!
  }

  /** Closes the image cleanly; TARGET_INVALID where that fails. */
  async close(): Promise<void> {
    await this.#stop()
    const { exitCode } = this.#process
    if (exitCode !== 0) throw toolError('qemu-nbd', new Error(`it ended with ${exitCode ?? 'a signal'}`))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
  }

  async #start(
    file: string,
    format: TargetFormat,
    { bitmap = null, readOnly = false, contexts = [] }: ServeOptions,
  ): Promise<void> {
    const folder = await makeSocketFolder()
    this.#resources.defer(() => rm(folder, { recursive: true, force: true }))
    // a socket's path has at most 107 bytes: it is relative to its folder, whose path may be longer
    const handle = this.#resources.use(await open(folder, 'r'))
    this.#socketPath = `/proc/self/fd/${handle.fd}/${SOCKET}`
    const how = [...(readOnly ? ['-r'] : []), ...(bitmap === null ? [] : [`--bitmap=${bitmap}`])]
    // not --persistent: it exits when a killed agent's connections close
    const shown = ['-e', String(CONNECTIONS_MAX), '-x', IMAGE_EXPORT, '-k', `/proc/self/cwd/${SOCKET}`]
    const args = [`--format=${format}`, '--discard=unmap', ...how, ...shown, '--', file]
    const server = spawn('qemu-nbd', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'], detached: true })
    this.#process = server
    let stderr = ''
    server.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-4096)))
    let failure: unknown = null
    server.on('error', (error) => (failure = error))
    this.#resources.defer(() => this.#stop())
    const { socketPath } = this
    const deadline = performance.now() + START_TIMEOUT_MS
    while (true) {
      if (failure !== null) throw toolError('qemu-nbd', failure)
      if (server.exitCode !== null) throw toolError('qemu-nbd', new Error(stderr))
      try {
        const connected = await NbdClient.connect({ socketPath, exportName: IMAGE_EXPORT, contexts })
        this.#client = this.#resources.use(connected)
        return
      } catch (error) {
        if (performance.now() > deadline) throw error
        await new Promise((resolve) => setTimeout(resolve, START_POLL_MS))
      }
    }
  }

  async #stop(): Promise<void> {
    const server = this.#process
    if (server.exitCode !== null || server.signalCode !== null || server.pid === undefined) return
    const exited = new Promise<void>((resolve) => server.once('exit', () => resolve()))
    // qemu-nbd closes the image cleanly on SIGTERM
    server.kill('SIGTERM')
    await exited
  }
}
