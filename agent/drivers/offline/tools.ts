// Runs the programs that make and remove snapshots, and those of QEMU for images that nobody uses.
import { execFile } from 'node:child_process'
import { VarveError } from '../../../protocol/errors.ts'
import type { Reader } from '../../attachments/reader.ts'
import { guardEnvironment } from '../../guard-environment.ts'

/** How long one program may take, in milliseconds: a snapshot waits for writes in flight. */
const TOOL_LIMIT_MS = 120_000

/** Most that a program may print, in bytes. */
const OUTPUT_BYTES_MAX = 1024 * 1024

/** Most characters of what a failed program said that an error carries. */
const SAID_CHARS_MAX = 512

/** Runs a program and gives what it printed; its failure is a ToolError. */
export type RunTool = (
  program: string,
  args: readonly string[],
  environment?: Readonly<Record<string, string>>,
) => Promise<string>

/** A program that failed; `said` is what it wrote to its standard error. */
export class ToolError extends VarveError {
  readonly said: string

  constructor(program: string, said: string, cause: unknown) {
    const missing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
    super(
      missing ? 'TOOL_MISSING' : 'SNAPSHOT_FAILED',
      missing ? `${program} is not installed` : `${program} failed: ${said || String(cause)}`,
      { cause },
    )
    this.said = said
  }
}

/** The group of one who is known to be in none. */
const NOGROUP = 65_534

/** Runs programs as this user, in no other groups than the first one that is known; null for the agent's own user. */
export const runToolAs = (user: Reader | null): RunTool => {
  const ids = user === null ? {} : { uid: user.uid, gid: user.gids[0] ?? NOGROUP }
  return (program, args, environment = {}) => runWith(program, args, environment, ids)
}

const runWith = (
  program: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  ids: { readonly uid?: number; readonly gid?: number },
): Promise<string> =>
  new Promise((resolve, reject) => {
    const options = {
      timeout: TOOL_LIMIT_MS,
      killSignal: 'SIGKILL',
      maxBuffer: OUTPUT_BYTES_MAX,
      // what is read of these programs must not depend on the host's language
      env: { ...guardEnvironment(), LC_ALL: 'C', ...environment },
      ...ids,
    } as const
    execFile(program, [...args], options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new ToolError(program, stderr.trim().slice(-SAID_CHARS_MAX), error))
    })
  })

/** Runs programs as the agent's own user. */
export const runTool: RunTool = runToolAs(null)
