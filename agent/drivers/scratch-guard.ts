// Keeps a process running that watches a lease's scratch space along with the agent, in case the agent dies or hangs.
import * as v from 'valibot'
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { VarveError } from '../../protocol/errors.ts'
import { within } from '../../protocol/host/within.ts'
import { guardEnvironment } from '../guard-environment.ts'
import { jsonSchema, type JsonValue } from '../json-value.ts'
import { markProcess, processMarkSchema } from '../process-mark.ts'

/** How long the guard process may take to start, in milliseconds. */
const START_LIMIT_MS = 20_000

/** How often the agent sends its guard a heartbeat, in milliseconds; the guard answers each time. */
export const GUARD_BEAT_MS = 200

/** A guard that has not answered for this long is replaced, in milliseconds. */
const GUARD_SILENT_MS = 15_000

/** How often a guard that cannot be started is tried again before the lease is given up, and the pause, in milliseconds. */
const RESTARTS_MAX = 3
const RESTART_PAUSE_MS = 1_000

/** Exit code of a guard that another one has replaced. */
export const GUARD_RELIEVED = 3

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(4096))

/** The first line of a guard process's input. */
export const guardOrderSchema = v.object({
  folder: text,
  token: text,
  reserveBytes: v.pipe(v.number(), v.minValue(0)),
  /** What the driver's guard needs to cancel the lease's jobs. */
  rescue: jsonSchema,
  /** The agent, which a guard kills that cannot cancel the jobs beside one that hangs. */
  agent: v.nullable(processMarkSchema),
})
export type GuardOrder = v.InferOutput<typeof guardOrderSchema>

/** The file in a scratch folder that holds the token of the one guard on duty. */
export const guardTokenFile = (folder: string): string => join(folder, 'guard')

/** The file in a scratch folder in which a guard notes that it had to kill the agent. */
export const agentEndedFile = (folder: string): string => join(folder, 'agent-ended')

/** How long a file system may take to say whether a file is there, in milliseconds. */
const FILE_LIMIT_MS = 1_000

/** Whether a file or folder is there; false also where the file system does not answer. */
export const isThere = async (path: string): Promise<boolean> => {
  const there = access(path).then(
    () => true,
    () => false,
  )
  return (await within(there, FILE_LIMIT_MS)) ?? false
}

/** What is guarded: the scratch folder, and the driver's program that cancels the jobs (see scratch-guard-duty.ts). */
export interface Guarded {
  readonly program: URL
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

/** Starts one guard process and puts it on duty in place of an earlier one; INTERNAL. */
const startProcess = async ({ program, folder, reserveBytes, rescue }: Guarded): Promise<GuardProcess> => {
  const child = spawn(process.execPath, [fileURLToPath(program)], {
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
    env: guardEnvironment(),
  })
  child.stdin.on('error', () => undefined)
  child.on('error', () => child.emit('exit', null, null))
  const order: GuardOrder = { folder, token: randomUUID(), reserveBytes, rescue, agent: markProcess() }
  child.stdin.write(`${JSON.stringify(order)}\n`)
  const stop = new AbortController()
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(START_LIMIT_MS)])
  child.once('exit', () => stop.abort())
  try {
    await once(child.stdout, 'data', { signal })
  } catch (cause) {
    child.stdin.end('done\n')
    child.stdout.destroy()
    child.unref()
    throw new VarveError('INTERNAL', 'the process that guards the scratch space did not start', { cause })
  }
  child.unref()
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
        const child = await startProcess(this.#guarded)
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
  new GuardKeeper(guarded, await startProcess(guarded))

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
