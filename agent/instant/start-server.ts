// Starts the process that serves a folder's disks, apart from whoever starts it.
import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ERRORS, VarveError, type ErrorCode } from '../../protocol/errors.ts'
import { guardEnvironment } from '../guard-environment.ts'
import { isStateLocked } from '../state-lock.ts'
import { askServer } from './control.ts'
import type { Places } from './record.ts'

/** How long one may take to end, in milliseconds. */
const END_LIMIT_MS = 20_000

/** How often one that is starting or ending is asked, in milliseconds. */
const LOOK_MS = 50

const codeOf = (text: string): ErrorCode => (Object.hasOwn(ERRORS, text) ? (text as ErrorCode) : 'INTERNAL')

/** Whether a process serves the folder, or is about to. */
export const isServed = (places: Places): Promise<boolean> => isStateLocked(places.private)

/** Waits for one that somebody else has started; false where it does not serve within `limitMs`, or has ended. */
const untilServing = async (places: Places, limitMs: number, signal?: AbortSignal): Promise<boolean> => {
  const deadlineMs = performance.now() + limitMs
  while (performance.now() < deadlineMs && signal?.aborted !== true && (await isServed(places))) {
    if ((await askServer(places.control, 'status').catch(() => null))?.serving === true) return true
    await sleep(LOOK_MS)
  }
  return false
}

/**
 * Has a process serve the disks. Resolves with true once it serves reads, with false where the gateway is still away after
 * `limitMs`, or the signal aborts: it goes on by itself. Throws what it ends with.
 */
export const startServer = async (places: Places, limitMs: number, signal?: AbortSignal): Promise<boolean> => {
  if (await isServed(places)) return await untilServing(places, limitMs, signal)
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
  if (code === 'STATE_LOCKED') return await untilServing(places, limitMs, signal)
  throw new VarveError(codeOf(code), message)
}

/** Ends the process that serves the disks, for good, and waits until it has ended; DEADLINE_EXCEEDED. */
export const endServer = async (places: Places): Promise<void> => {
  const deadlineMs = performance.now() + END_LIMIT_MS
  while (await isServed(places)) {
    await askServer(places.control, 'give up').catch(() => null)
    if (performance.now() > deadlineMs)
      throw new VarveError('DEADLINE_EXCEEDED', `the process that serves ${places.folder} does not end: kill it`)
    await sleep(LOOK_MS)
  }
}
