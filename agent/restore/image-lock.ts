// QEMU's image lock on a file or device, held by qemu-io: whoever has it is not written over, and no machine starts on it meanwhile.
import { spawn } from 'node:child_process'
import { VarveError } from '../../protocol/errors.ts'

/** How long opening one image may take, in milliseconds. */
const OPEN_LIMIT_MS = 30_000

/** How long qemu-io may take to end once it is told, in milliseconds. */
const END_LIMIT_MS = 10_000

/** Most that is kept of what qemu-io says, in characters. */
const SAID_CHARS_MAX = 4096

const PROMPT = 'qemu-io>'

export interface ImageLock extends AsyncDisposable {
  readonly pid: number
}

/** `held`: somebody has the lock; else what qemu-io could not do, in its words. */
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
    'qemu-io is needed to hold the image lock of what is written over, and is not installed (Debian: apt-get install qemu-utils)',
  )

/**
 * Holds the lock that a running QEMU takes for writing, until it is disposed or this process dies, however it does.
 * ImageLockError, TOOL_MISSING.
 */
export const holdImageLock = async (file: string): Promise<ImageLock> => {
  // detached: an interruption from the terminal is for us, and the lock is given back last
  const child = spawn('qemu-io', ['-f', 'raw', file], { stdio: ['pipe', 'pipe', 'pipe'], detached: true })
  // its standard input ends with this process, and it with that
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
      child.once('close', () => reject(new ImageLockError(said || 'it ended without a word')))
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
