// Stops a machine for an instant, under the eyes of a process that continues it if the agent does not.
import * as v from 'valibot'
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { asVarveError, isErrorCode, VarveError } from '../../protocol/errors.ts'
import { within } from '../../protocol/host/within.ts'
import { guardEnvironment } from '../guard-environment.ts'
import { markProcess } from '../process-mark.ts'
import type { Thaw } from './freezer.ts'
import { PAUSE_BEAT_MS, pauseReportSchema, type PauseOrder } from './pause-messages.ts'
import { monitorOfPaused, type MachineRun } from './paused-machine.ts'
import { isLibvirtGuest } from './libvirt-guest.ts'
import type { Thawer } from './thawer.ts'

/** How long the guard process may take to start, in milliseconds. */
const START_LIMIT_MS = 20_000

/** How long a backup waits for a machine to run again, in milliseconds; it is tried on after that. */
const RESUME_WAIT_MS = 60_000

export interface PauseOptions {
  /** As `pausedMachine` writes it. */
  readonly address: string
  /** The way to the machine that its driver has. */
  readonly run: MachineRun
  readonly machine: string
  readonly lease: string
  /** Longest time that the machine may stand, in milliseconds. */
  readonly timeoutMs: number
  /** Continues the machine where this way to it has broken. */
  readonly thawer: Thawer
}

/** A machine that stands still until `resume`, its time limit, or the death of this process or the guard. */
export interface StoppedMachine {
  readonly pid: number
  resume(): Promise<Thaw>
}

type Guard = ChildProcessByStdio<Writable, Readable, null>

/** Puts a guard on duty that has noted the stop; GUEST_AGENT_ERROR when that cannot be done. */
const arm = async (order: PauseOrder): Promise<Guard> => {
  const program = fileURLToPath(new URL('./pause-guard-process.ts', import.meta.url))
  const env = guardEnvironment()
  const child: Guard = spawn(process.execPath, [program], { detached: true, stdio: ['pipe', 'pipe', 'ignore'], env })
  child.on('error', () => child.stdout.destroy())
  child.stdin.on('error', () => undefined)
  child.unref()
  child.stdin.write(`${JSON.stringify(order)}\n`)
  const said = once(child.stdout.setEncoding('utf8'), 'data').then(
    ([line]) => v.parse(v.pipe(v.string(), v.parseJson(), pauseReportSchema), line),
    () => null,
  )
  const ended = new Promise<null>((resolve) => void child.stdout.once('close', () => resolve(null)))
  const answer = await within(Promise.race([said, ended]), START_LIMIT_MS)
  if (answer?.state === 'armed') return child
  child.stdin.end()
  if (answer === null) child.kill('SIGKILL')
  const what = answer?.message ?? 'the process that guards a stopped machine ended without an answer'
  throw new VarveError(answer !== null && isErrorCode(answer.code) ? answer.code : 'GUEST_AGENT_ERROR', what)
}

/** Stops a machine that runs. Whatever fails, it is continued: by this process, its guard, or the next agent. */
export const pauseMachine = async (options: PauseOptions): Promise<StoppedMachine> => {
  const { address, run, machine, lease, timeoutMs, thawer } = options
  const id = randomUUID()
  const monitor = monitorOfPaused(address) ?? ''
  const agent = isLibvirtGuest(monitor) ? null : markProcess()
  const notes = thawer.notes.folder
  const guard = await arm({ guestAgent: address, timeoutMs, notes, id, machine, qmp: monitor, lease, agent })
  const beat = setInterval(() => guard.stdin.write('alive\n'), PAUSE_BEAT_MS)
  const sinceMs = performance.now()
  let resuming: Promise<void> | null = null
  let pausing: Promise<void> = Promise.resolve()
  const resumeNow = async (): Promise<void> => {
    // libvirt may carry out two calls in any order
    await pausing.catch(() => undefined)
    try {
      await run.resume()
      if ((await run.look()).state === 'paused') throw new Error('it still stands')
    } catch {
      // the way to the machine has broken: from here on it is tried without limit
      guard.kill('SIGKILL')
      await thawer.takeOver((note) => note.id === id, RESUME_WAIT_MS)
    }
    clearInterval(beat)
    guard.stdin.end('done\n')
  }
  const resumeOnce = (): Promise<void> => (resuming ??= resumeNow())
  const limit = setTimeout(() => void resumeOnce(), timeoutMs)
  // from here on the agent undoes it: a guard that dies with the machine stopped must not wait for the next look
  guard.once('exit', () => void (resuming === null && resumeOnce()))
  /** Whether the machine still stands, by our will. */
  const stands = async (): Promise<boolean> => {
    if (resuming !== null) return false
    const { state } = await run.look()
    return resuming === null && state === 'paused'
  }
  const resume = async (): Promise<Thaw> => {
    const inTime = await stands().catch(() => false)
    clearTimeout(limit)
    await resumeOnce()
    return { frozenMs: performance.now() - sinceMs, inTime }
  }
  try {
    pausing = run.pause()
    await pausing
  } catch (cause) {
    await resume()
    throw new VarveError('GUEST_AGENT_ERROR', `the machine could not be stopped: ${asVarveError(cause).message}`, {
      cause,
    })
  }
  return { pid: guard.pid ?? 0, resume }
}
