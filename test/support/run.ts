// Runs a short program to its end.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** The standard output of a program; throws with its error output when it fails. */
export const run = async (program: string, args: readonly string[]): Promise<string> => {
  const { stdout } = await execute(program, [...args], { maxBuffer: 64 * 1024 * 1024 })
  return stdout
}
