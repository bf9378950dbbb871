// The QEMU of a drill: it dies with this process, gives way to everything else, and cannot fill the disk.
import { spawn } from 'node:child_process'
import { VarveError } from '../../protocol/errors.ts'
import { guardEnvironment } from '../guard-environment.ts'

/** Most characters kept of what it says. */
const SAID_CHARS_MAX = 4096

export interface DrillQemu extends AsyncDisposable {
  readonly pid: number
  /** Resolves with what it said, once it has ended. */
  readonly ended: Promise<string>
}

/** Last in line for the processor and the disk, first to go where memory runs out, and no file longer than this. */
const limited = (fileBytesMax: number): string[] => [
  'setpriv',
  '--pdeathsig',
  'KILL',
  'prlimit',
  `--fsize=${fileBytesMax}`,
  '--core=0',
  'nice',
  '-n',
  '19',
  'ionice',
  '-c',
  '3',
  'choom',
  '-n',
  '1000',
  '--',
]

/** TOOL_MISSING. */
export const startQemu = async (
  program: string,
  words: readonly string[],
  { folder, fileBytesMax }: { readonly folder: string; readonly fileBytesMax: number },
): Promise<DrillQemu> => {
  const [tool, ...args] = limited(fileBytesMax)
  const child = spawn(tool!, [...args, program, ...words], {
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
  return {
    pid,
    ended,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}
