// Runs a program to its end and gives what it printed, for the guest rig and the demonstration.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const execFileAsync = promisify(execFile)

/** Most that one program may print, in bytes. */
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024

/** Longest run of one program unless told otherwise, in milliseconds. */
const RUN_TIMEOUT_MS = 120_000

export interface RunOptions {
  readonly cwd?: string
  readonly timeoutMs?: number
  /** What errors call the program instead of its command line, which may hold a secret. */
  readonly label?: string
  /** Ends the program when it is aborted. */
  readonly signal?: AbortSignal
}

const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  if ('killed' in error && error.killed === true) return 'it took too long'
  const said = 'stderr' in error ? String(error.stderr).trim() : ''
  return said === '' ? error.message : said
}

/** What the program printed on standard output; throws with its standard error when it fails or takes too long. */
export const run = async (command: string, args: readonly string[], options: RunOptions = {}): Promise<string> => {
  try {
    const { stdout } = await execFileAsync(command, args, {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      timeout: options.timeoutMs ?? RUN_TIMEOUT_MS,
      maxBuffer: OUTPUT_BYTES_MAX,
    })
    return stdout
  } catch (error) {
    const label = options.label ?? [command, ...args].join(' ')
    throw new Error(`${label}: ${reasonOf(error)}`, { cause: error })
  }
}
