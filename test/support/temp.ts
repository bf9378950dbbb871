// A folder of its own for one test, gone when the test ends.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A temporary folder with a short path (unix sockets must fit into 107 bytes). */
export interface TempFolder extends AsyncDisposable {
  readonly path: string
  join(...parts: readonly string[]): string
}

/** Makes a temporary folder that `await using` removes with everything in it. */
export const tempFolder = async (prefix = 'varve'): Promise<TempFolder> => {
  const path = await mkdtemp(join(tmpdir(), `${prefix}-`))
  return {
    path,
    join: (...parts) => join(path, ...parts),
    [Symbol.asyncDispose]: async () => {
      // on a busy machine something that was just ended may still write for a moment
      await rm(path, { recursive: true, force: true, maxRetries: 10 })
    },
  }
}

/** How long something may take to come, in milliseconds: for one that never does, and no measure of how fast it is. */
const EVENTUALLY_LIMIT_MS = 120_000

/** Waits until `probe` gives something other than null, undefined or false; throws after `limitMs`. */
export const eventually = async <T>(
  probe: () => T | null | undefined | false | Promise<T | null | undefined | false>,
  limitMs = EVENTUALLY_LIMIT_MS,
): Promise<T> => {
  const deadline = Date.now() + limitMs
  for (;;) {
    const value = await probe()
    if (value !== null && value !== undefined && value !== false) return value
    if (Date.now() > deadline) throw new Error(`nothing came within ${limitMs} ms: ${probe.toString()}`)
    await new Promise((resolve) => void setTimeout(resolve, 20))
  }
}
