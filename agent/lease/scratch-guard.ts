// Starts the process that watches a lease's scratch space while the agent is dead.

import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as v from 'valibot'
import { VarveError } from '../../protocol/errors.ts'
import { guardEnvironment } from '../guard-environment.ts'
import type { JournalEntry } from './journal.ts'

/** How long the guard process may take to start, in milliseconds. */
const START_LIMIT_MS = 20_000

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))

/** What a guard process is told in its first line of input. */
export const guardOrderSchema = v.object({
  qmpPath: text,
  /** The lease's NBD socket, at which it shows without touching the monitor that QEMU lives. */
  nbdPath: text,
  folder: text,
  token: text,
  reserveBytes: v.pipe(v.number(), v.minValue(0)),
  jobs: v.pipe(v.array(text), v.minLength(1)),
})
export type GuardOrder = v.InferOutput<typeof guardOrderSchema>

/** The file in a scratch folder that holds the token of the one guard on duty. */
export const guardTokenFile = (folder: string): string => join(folder, 'guard')

export interface ScratchGuard {
  readonly pid: number
  /** Sends the guard home: the lease has ended. */
  done(): void
}

/**
 * Starts a guard for the lease's jobs and takes over from any earlier one. When this process dies the guard cancels
 * the jobs as soon as the space is low; it leaves when the scratch folder or QEMU is gone or a newer guard is on duty.
 */
export const startScratchGuard = async (entry: JournalEntry, reserveBytes: number): Promise<ScratchGuard> => {
  const token = randomUUID()
  const file = guardTokenFile(entry.scratchFolder)
  const program = fileURLToPath(new URL('./scratch-guard-process.ts', import.meta.url))
  const child = spawn(process.execPath, [program], {
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
    env: guardEnvironment(),
  })
  child.stdin.on('error', () => undefined)
  const jobs = entry.disks.map(({ job }) => job)
  const { machine, socketPath, scratchFolder: folder } = entry
  const order: GuardOrder = { qmpPath: machine.qmp, nbdPath: socketPath, folder, token, reserveBytes, jobs }
  child.stdin.write(`${JSON.stringify(order)}\n`)
  try {
    await once(child.stdout, 'data', { signal: AbortSignal.timeout(START_LIMIT_MS) })
    await writeFile(`${file}.tmp`, token)
    await rename(`${file}.tmp`, file)
  } catch (cause) {
    child.stdin.end('done\n')
    throw new VarveError('INTERNAL', 'The process that guards the scratch space did not start.', { cause })
  } finally {
    child.stdout.destroy()
    child.unref()
  }
  return { pid: child.pid ?? 0, done: () => void child.stdin.end('done\n') }
}
