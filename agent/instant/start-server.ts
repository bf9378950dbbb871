// Starts the process that serves a folder's disks, apart from whoever starts it.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { ERRORS, VarveError, type ErrorCode } from '../../protocol/errors.ts'
import { guardEnvironment } from '../guard-environment.ts'
import { isStateLocked } from '../state-lock.ts'
import type { Places } from './record.ts'

const codeOf = (text: string): ErrorCode => (Object.hasOwn(ERRORS, text) ? (text as ErrorCode) : 'INTERNAL')

/** Whether a process serves the folder, or is about to. */
export const isServed = (places: Places): Promise<boolean> => isStateLocked(places.private)

/**
 * Resolves with true once it serves reads, with false where the gateway is still away after `limitMs`, or the signal aborts: it
 * goes on by itself. Throws what it ends with.
 */
export const startServer = async (places: Places, limitMs: number, signal?: AbortSignal): Promise<boolean> => {
  const program = fileURLToPath(new URL('./server-process.ts', import.meta.url))
  const child = spawn(process.execPath, ['--max-semi-space-size=2', program, places.folder], {
    detached: true,
    cwd: '/',
    stdio: ['ignore', 'pipe', 'ignore'],
    env: guardEnvironment(),
  })
  child.unref()
  const { promise, resolve } = Promise.withResolvers<string>()
  let said = ''
  child.once('error', ({ message }) => resolve(`failed INTERNAL ${message}\n`))
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    said += piece
    if (said.includes('\n')) resolve(said)
  })
  child.stdout.once('end', () => resolve(said || 'failed INTERNAL it ended without a word\n'))
  const timer = setTimeout(() => resolve(''), limitMs)
  const onAbort = (): void => resolve('')
  signal?.addEventListener('abort', onAbort, { once: true })
  const line = await promise
  clearTimeout(timer)
  signal?.removeEventListener('abort', onAbort)
  child.stdout.destroy()
  if (line === '') return false
  if (line.startsWith('ready')) return true
  const [, code = '', message = ''] = /^failed (\w+) (.*)$/mu.exec(line) ?? []
  // another one was faster
  if (code === 'STATE_LOCKED') return true
  throw new VarveError(codeOf(code), message)
}
