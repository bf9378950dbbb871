// A qcow2 target: qemu-img makes the file, qemu-nbd serves it on a private socket, and it gets its name when complete.
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import * as v from 'valibot'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { NbdClient } from '../nbd/client.ts'
import { ALLOCATION_CONTEXT, WINDOW_BYTES } from '../nbd/extents.ts'
import { ALLOCATION_ZERO } from '../nbd/wire.ts'
import { FileTarget, type FileContent } from './file-target.ts'
import type { Naming } from './new-file.ts'

const START_TIMEOUT_MS = 10_000
const START_POLL_MS = 20

/** How long a look at an image's header may take, in milliseconds. */
const INFO_LIMIT_MS = 30_000

const EXPORT = 'disk'
const SOCKET = 'nbd'

const run = promisify(execFile)

const toolError = (tool: string, error: unknown): VarveError => {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOENT')
    return new VarveError(
      'TOOL_MISSING',
      `${tool} is needed to write qcow2 and is not installed (Debian: apt-get install qemu-utils)`,
    )
  const said = message.trim().split('\n').at(-1) ?? ''
  return new VarveError('TARGET_INVALID', `${tool}: ${said.replace(`${tool}: `, '')}`, { cause: error })
}

const writeError = (final: string, error: unknown): VarveError => {
  const full = error instanceof VarveError && error.details['errno'] === 'ENOSPC'
  return full
    ? new VarveError('TARGET_INVALID', `cannot write ${final}: no space left`, { cause: error })
    : asVarveError(error)
}

/** Makes an empty image in a file that exists already, as qemu-img would make it readable by everyone. */
const makeImage = async (file: string, size: number): Promise<void> => {
  try {
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', file, String(size)])
  } catch (error) {
    throw toolError('qemu-img', error)
  }
}

const imageInfo = v.object({ 'virtual-size': v.number(), format: v.literal('qcow2') })

/** What an image may lead out of its file by. */
const LEADS_OUT = ['backing-filename', 'full-backing-filename', 'encrypted']

/** Whether a file is an image of this size, as a restore that was broken off leaves it, and all of it lies in this file. */
const isPlainImage = async (file: string, size: number): Promise<boolean> => {
  try {
    const { stdout } = await run('qemu-img', ['info', '-f', 'qcow2', '--output=json', file], { timeout: INFO_LIMIT_MS })
    const said: unknown = JSON.parse(stdout)
    if (!v.is(imageInfo, said) || said['virtual-size'] !== size) return false
    return !LEADS_OUT.some((key) => key in said) && !stdout.includes('"data-file"')
  } catch (error) {
    if (hasCode(error, 'ENOENT') || /lock/u.test((error as Error).message)) throw toolError('qemu-img', error)
    // broken off before there was one
    return false
  }
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

/** The image in a file that exists, served by a program of its own. */
class Qcow2File implements FileContent {
  readonly #temporary: string
  readonly #final: string
  readonly #resources = new AsyncDisposableStack()
  #nbd!: NbdClient
  #server!: ChildProcess

  private constructor(temporary: string, final: string) {
    this.#temporary = temporary
    this.#final = final
  }

  /** `final` names it in errors. */
  static async open(temporary: string, final: string, size: number, isKept: boolean): Promise<Qcow2File> {
    const file = new Qcow2File(temporary, final)
    try {
      if (!isKept || !(await isPlainImage(temporary, size))) await makeImage(temporary, size)
      await file.#serve()
      return file
    } catch (error) {
      await file[Symbol.asyncDispose]()
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

  async read(offset: number, into: Uint8Array): Promise<void> {
    await this.#nbd.readInto(offset, into)
  }

  async cut(offset: number): Promise<void> {
    const { size } = this.#nbd
    try {
      for (let at = offset; at < size;) {
        const status = await this.#nbd.blockStatus(at, Math.min(WINDOW_BYTES, size - at))
        for (const { length, flags } of status.get(ALLOCATION_CONTEXT) ?? []) {
          // zeroing what is not there would make tables of it
          if ((flags & ALLOCATION_ZERO) === 0) await this.#nbd.writeZeroes(at, length, { mayTrim: true })
          at += length
        }
      }
    } catch (error) {
      throw writeError(this.#final, error)
    }
  }

  async seal(): Promise<void> {
    try {
      await this.#nbd.flush()
    } catch (error) {
      throw writeError(this.#final, error)
    }
    await this.#stop()
    const { exitCode } = this.#server
    if (exitCode !== 0) throw toolError('qemu-nbd', new Error(`it ended with ${exitCode ?? 'a signal'}`))
    await using file = await open(this.#temporary, 'r')
    await file.sync()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
  }

  async #serve(): Promise<void> {
    const temporary = this.#temporary
    const folder = await makeSocketFolder()
    this.#resources.defer(() => rm(folder, { recursive: true, force: true }))
    // a socket's path has at most 107 bytes: it is relative to its folder, whose path may be longer
    const handle = this.#resources.use(await open(folder, 'r'))
    const socketPath = `/proc/self/fd/${handle.fd}/${SOCKET}`
    // not --persistent: it exits when a killed agent's connection closes
    const contexts = [ALLOCATION_CONTEXT]
    const args = ['--format=qcow2', '--discard=unmap', '-x', EXPORT, '-k', `/proc/self/cwd/${SOCKET}`, temporary]
    const server = spawn('qemu-nbd', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'], detached: true })
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
        this.#nbd = this.#resources.use(await NbdClient.connect({ socketPath, exportName: EXPORT, contexts }))
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

/** A new qcow2 file, whose clusters read as zeroes until they are written, or one to go on with; TARGET_INVALID, TARGET_IN_USE, TOOL_MISSING. */
export const makeQcow2File = (final: string, size: number, naming: Naming): Promise<FileTarget> =>
  FileTarget.make(final, naming, (temporary, isKept) => Qcow2File.open(temporary, final, size, isKept))
