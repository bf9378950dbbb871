// QEMU's image lock on a file or device, held by qemu-io: nothing in use is overwritten, and no machine starts on it.
import { spawn } from 'node:child_process'
import { VarveError } from '../../protocol/errors.ts'

/** How long opening one image may take, in milliseconds. */
const OPEN_LIMIT_MS = 30_000

/** How long qemu-io may take to exit on request, in milliseconds. */
const END_LIMIT_MS = 10_000

/** Most characters kept of qemu-io's output. */
const SAID_CHARS_MAX = 4096

const PROMPT = 'qemu-io>'

export interface ImageLock extends AsyncDisposable {
  readonly pid: number
}

/** `held`: another process has the lock; else qemu-io's own error. */
export class ImageLockError extends Error {
  readonly held: boolean

  constructor(said: string) {
    const line = said.trim().split('\n')[0] ?? ''
    super(line.replace(/^qemu-io: (?:can't open device [^:]*: )?/u, ''))
    this.held = /Failed to get .*lock/u.test(said)
  }
}

const toolMissing = (): VarveError =>
  new VarveError(
    'TOOL_MISSING',
    'qemu-io is needed to hold the image lock of the target, and is not installed (Debian: apt-get install qemu-utils)',
  )

/**
 * Holds the lock that a running QEMU takes for writing, until disposed or until this process dies in any way.
 * ImageLockError, TOOL_MISSING.
 */
export const holdImageLock = async (file: string): Promise<ImageLock> => {
  // detached: Ctrl-C at the terminal is for us, and the lock is released last
  const child = spawn('qemu-io', ['-f', 'raw', file], { stdio: ['pipe', 'pipe', 'pipe'], detached: true })
  // its standard input closes with this process, which ends it
  child.stdin.on('error', () => {})
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const end = async (): Promise<void> => {
    child.stdin.end()
    const timer = setTimeout(() => child.kill('SIGKILL'), END_LIMIT_MS)
    await exited
    clearTimeout(timer)
  }
  let said = ''
  let timer: NodeJS.Timeout | undefined
  try {
    await new Promise<void>((resolve, reject) => {
      child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-SAID_CHARS_MAX)))
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        if (text.includes(PROMPT)) resolve()
      })
      child.once('error', (error: NodeJS.ErrnoException) => {
        reject(error.code === 'ENOENT' ? toolMissing() : new ImageLockError(error.message))
      })
      child.once('close', () => reject(new ImageLockError(said || 'it exited without a message')))
      timer = setTimeout(() => reject(new ImageLockError(`${file} does not open in time`)), OPEN_LIMIT_MS)
    })
  } catch (error) {
    if (child.pid !== undefined) await end()
    throw error
  } finally {
    clearTimeout(timer)
  }
  return { pid: child.pid!, [Symbol.asyncDispose]: end }
}
