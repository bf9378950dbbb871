// Runs one command of a hook to its end, or to its time limit.
import { spawn } from 'node:child_process'
import { within } from '../../protocol/host/within.ts'
import { guardEnvironment } from '../guard-environment.ts'
import type { Hook } from './settings.ts'

/** Most characters of what a command said that a restore point's note keeps. */
const SAID_CHARS_MAX = 200

/** How long a command that is told to end has until it is killed, in milliseconds. */
const END_LIMIT_MS = 2_000

/** How long what it said may come after its end, in milliseconds: what it left in the background may hold its output open. */
const SAID_LIMIT_MS = 500

/** How a command ended, in the words of a note; `fault` is null for one that ended with exit code 0. */
export interface HookOutcome {
  readonly tookMs: number
  readonly fault: string | null
}

/** What is printable of the last line. */
const lastLine = (text: string): string =>
  (text.trim().split('\n').at(-1) ?? '')
    .replaceAll(/[^\P{C}]/gu, ' ')
    .trim()
    .slice(-SAID_CHARS_MAX)

const faultOf = (code: number | null, signal: string | null, said: string): string | null => {
  if (code === 0) return null
  const line = lastLine(said)
  return `${code === null ? `signal ${signal}` : `exit code ${code}`}${line === '' ? '' : `: ${line}`}`
}

/**
 * Runs it in a process group of its own, without input, with the agent's least environment and `variables`. It dies with this
 * process (`setpriv`); at its limit all of its group is ended. Never rejects.
 */
export const runHook = async (
  { words, limitMs }: Hook,
  variables: Readonly<Record<string, string>>,
): Promise<HookOutcome> => {
  const startedMs = performance.now()
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', ...words], {
    cwd: '/',
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...guardEnvironment(), ...variables },
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (piece: string) => (said = (said + piece).slice(-4 * SAID_CHARS_MAX)))
  const end = (signal: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal)
    } catch {
      // all of it has ended
    }
  }
  let late = false
  let killing: NodeJS.Timeout | undefined
  const limit = setTimeout(() => {
    late = true
    end('SIGTERM')
    killing = setTimeout(() => end('SIGKILL'), END_LIMIT_MS)
  }, limitMs)
  const closed = new Promise<null>((resolve) => void child.once('close', () => resolve(null)))
  const fault = await new Promise<string | null>((resolve) => {
    child.once('error', ({ message }) => resolve(`setpriv (util-linux) cannot be started: ${message}`))
    child.once('exit', (code, signal) => {
      void within(closed, code === 0 ? 0 : SAID_LIMIT_MS).then(() => resolve(faultOf(code, signal, said)))
    })
  })
  clearTimeout(limit)
  clearTimeout(killing)
  if (late) end('SIGKILL')
  child.stderr.destroy()
  const tookMs = performance.now() - startedMs
  return { tookMs, fault: late ? `did not end within ${limitMs / 1000} s` : fault }
}
