// Ends a machine's record without pulling the private folder away from a start script that has just seen it.
import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { guardEnvironment } from '../guard-environment.ts'
import type { Places } from './record.ts'

/** How long a start script may take from its look at the record to QEMU's monitor, in milliseconds: one may have no monitor. */
const START_LIMIT_MS = 60_000

/** How often it is looked at, in milliseconds. */
const LOOK_MS = 100

const listens = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = createConnection({ path })
    socket.once('connect', () => (socket.destroy(), resolve(true))).once('error', () => resolve(false))
  })

/** Removes the record under the lock that a start script and its QEMU hold; false where one of them does. */
const removedUnderLock = async ({ script, record }: Places): Promise<boolean> => {
  try {
    await promisify(execFile)('flock', ['-n', script, 'rm', '-f', record], { env: guardEnvironment() })
    return true
  } catch {
    return false
  }
}

/**
 * Removes the record: a script that looked at it before has its monitor in the private folder by then, and one that looks later
 * asks for none.
 */
export const removeRecord = async (places: Places, limitMs = START_LIMIT_MS): Promise<void> => {
  const deadlineMs = performance.now() + limitMs
  while (performance.now() < deadlineMs && !(await listens(places.qmp))) {
    if (await removedUnderLock(places)) return
    await sleep(LOOK_MS)
  }
  await rm(places.record, { force: true })
}
