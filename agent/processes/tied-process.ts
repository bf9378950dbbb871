// A program that dies with this process, however that ends, and what it said.
import { spawn } from 'node:child_process'
import { VarveError } from '../../protocol/errors.ts'
import { guardEnvironment } from '../guard-environment.ts'

/** Most characters kept of what it says. */
const SAID_CHARS_MAX = 4096

export interface TiedProcess {
  readonly pid: number
  /** Resolves with the end of what it said, once it has ended. */
  readonly ended: Promise<string>
  /** Ends it, and waits until it has ended. */
  end(signal: NodeJS.Signals): Promise<void>
}

/** Starts it with the agent's least environment; it may not change its user. TOOL_MISSING. */
export const startTied = async (
  words: readonly string[],
  { folder }: { readonly folder?: string } = {},
): Promise<TiedProcess> => {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...words], {
    cwd: folder,
    // Ctrl-C at the terminal is for the command, which ends it
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: guardEnvironment(),
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (piece: string) => (said = (said + piece).slice(-SAID_CHARS_MAX)))
  const ended = new Promise<string>((resolve) => {
    child.once('error', ({ message }) => resolve(message))
    child.once('close', () => resolve(said.trim()))
  })
  const { pid } = child
  if (pid === undefined)
    throw new VarveError('TOOL_MISSING', `setpriv is not installed (Debian package util-linux): ${await ended}`)
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal)
    await ended
  }
  return { pid, ended, end }
}
