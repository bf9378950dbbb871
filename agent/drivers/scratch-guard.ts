// Keeps a process running that watches a lease's scratch space along with the agent, in case the agent dies or hangs.
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { VarveError } from '../../protocol/errors.ts'
import { guardEnvironment } from '../guard-environment.ts'
import type { JsonValue } from '../json-value.ts'
import { markProcess } from '../process-mark.ts'
import { GUARD_RELIEVED, isThere, type GuardOrder } from './scratch-guard-order.ts'

/** How long the guard process may take to start, in milliseconds. */
const START_LIMIT_MS = 20_000

/** How often the agent sends its guard a heartbeat, in milliseconds; the guard answers each time. */
export const GUARD_BEAT_MS = 200

/** A guard that has not answered for this long is replaced, in milliseconds. */
const GUARD_SILENT_MS = 15_000

/** How often a guard that cannot be started is tried again before the lease is given up, and the pause, in milliseconds. */
const RESTARTS_MAX = 3
const RESTART_PAUSE_MS = 1_000

/** What is guarded: the scratch folder, and the process that can cancel the jobs (see scratch-guard-duty.ts). */
export interface Guarded {
  readonly guard: WaitingGuard
  readonly folder: string
  readonly reserveBytes: number
  readonly rescue: JsonValue
}

export interface ScratchGuard {
  /** Of the current guard process. */
  readonly pid: number
  /** Resolves if no guard runs and none can be started: the lease must end. */
  readonly lost: Promise<VarveError>
  /** Says that the agent has seen the space run low and cancels the jobs itself. */
  acting(): void
  /** Stops the guard: the lease has ended. */
  done(): void
}

type GuardProcess = ChildProcessByStdio<Writable, Readable, null>

const spawnProcess = (program: URL): GuardProcess => {
  const child = spawn(process.execPath, [fileURLToPath(program)], {
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
    env: guardEnvironment(),
  })
  child.stdin.on('error', () => undefined)
  child.on('error', () => child.emit('exit', null, null))
  child.unref()
  return child
}

/** Lets a process go that guards nothing: the end of its input ends it, and so does the end of this process. */
const dismiss = (child: GuardProcess): void => {
  child.stdin.end('done\n')
  child.stdout.destroy()
}

/** A guard process that starts while its lease is being planned; it ends unless a lease takes it. */
export class WaitingGuard implements Disposable {
  readonly program: URL
  #child: GuardProcess | null

  constructor(program: URL) {
    this.program = program
    this.#child = spawnProcess(program)
  }

  /** The process, which is the caller's from now on; another one where it has been taken before. */
  take(): GuardProcess {
    const child = this.#child ?? spawnProcess(this.program)
    this.#child = null
    return child
  }

  [Symbol.dispose](): void {
    if (this.#child !== null) dismiss(this.#child)
  }
}

/** Puts a guard process on duty in place of an earlier one; INTERNAL. */
const putOnDuty = async (
  child: GuardProcess,
  { folder, reserveBytes, rescue }: Omit<Guarded, 'guard'>,
): Promise<GuardProcess> => {
  const order: GuardOrder = { folder, token: randomUUID(), reserveBytes, rescue, agent: markProcess() }
  const stop = new AbortController()
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(START_LIMIT_MS)])
  child.once('exit', () => stop.abort())
  // one that has ended already says nothing more
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) stop.abort()
  child.stdin.write(`${JSON.stringify(order)}\n`)
  try {
    await once(child.stdout, 'data', { signal })
  } catch (cause) {
    dismiss(child)
    throw new VarveError('INTERNAL', 'the process that guards the scratch space did not start', { cause })
  }
  return child
}

/** Keeps one guard process on duty until the lease has ended. */
class GuardKeeper implements ScratchGuard {
  readonly lost: Promise<VarveError>
  readonly #guarded: Guarded
  readonly #losing = Promise.withResolvers<VarveError>()
  readonly #beat: NodeJS.Timeout
  #child: GuardProcess
  #heardMs = performance.now()
  #over = false

  constructor(guarded: Guarded, child: GuardProcess) {
    this.#guarded = guarded
    this.#child = child
    this.lost = this.#losing.promise
    this.#follow(child)
    this.#beat = setInterval(() => this.#onBeat(), GUARD_BEAT_MS)
    this.#beat.unref()
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  acting(): void {
    this.#child.stdin.write('acting\n')
  }

  done(): void {
    this.#over = true
    clearInterval(this.#beat)
    this.#child.stdin.end('done\n')
    this.#child.stdout.destroy()
  }

  #onBeat(): void {
    if (performance.now() - this.#heardMs > GUARD_SILENT_MS) this.#child.kill('SIGKILL')
    else this.#child.stdin.write('alive\n')
  }

  #follow(child: GuardProcess): void {
    this.#heardMs = performance.now()
    child.stdout.on('data', () => {
      this.#heardMs = performance.now()
    })
    child.once('exit', (code) => void this.#onExit(code))
  }

  /** Puts another guard on duty, unless none is needed: the lease has ended or another agent's guard is there. */
  async #onExit(code: number | null): Promise<void> {
    if (code === GUARD_RELIEVED) this.#over = true
    for (let tries = 1; !this.#over && (await isThere(this.#guarded.folder)); tries += 1) {
      try {
        const child = await putOnDuty(this.#guarded.guard.take(), this.#guarded)
        if (this.#over) return void child.stdin.end('done\n')
        this.#child = child
        this.#follow(child)
        return
      } catch (error) {
        if (tries === RESTARTS_MAX) {
          this.#losing.resolve(error as VarveError)
          return
        }
        await sleep(RESTART_PAUSE_MS, undefined, { ref: false })
      }
    }
  }
}

/**
 * Starts a guard for a lease's jobs in place of any earlier one. It watches the space along with the agent, and cancels
 * the jobs as soon as the space is low and the agent is dead, stopped or silent, if need be by killing an agent that holds
 * the only way to the hypervisor. It ends on request, when the machine is gone, or when a newer guard is on duty; one that
 * dies is replaced.
 */
export const guardScratch = async (guarded: Guarded): Promise<ScratchGuard> =>
  new GuardKeeper(guarded, await putOnDuty(guarded.guard.take(), guarded))

/** The guard of a lease that is being made, while it starts; ended where `work`, done meanwhile, fails. */
export const guardFrom = async (starting: Promise<ScratchGuard>, work: () => Promise<void>): Promise<ScratchGuard> => {
  // it is awaited below; until then its failure must not count as unhandled
  starting.catch(() => undefined)
  try {
    await work()
  } catch (error) {
    await starting.then((guard) => guard.done()).catch(() => undefined)
    throw error
  }
  return await starting
}
