// Freezes a guest's file systems through a guard process that outlives the agent, and outlives that process in turn.
import * as v from 'valibot'
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { VarveError, isErrorCode } from '../../protocol/errors.ts'
import { guardEnvironment } from '../guard-environment.ts'
import { within } from '../../protocol/host/within.ts'
import { GUEST_COMMAND_LIMIT_MS, GUEST_SYNC_LIMIT_MS } from './channel.ts'
import { FREEZE_LIMIT_MAX_MS, freezeReportSchema, type FreezeOrder, type FreezeReport } from './freeze-messages.ts'
import type { Thawer } from './thawer.ts'

/** How long a guest may stay frozen by default, in milliseconds. */
export const FREEZE_LIMIT_MS = 10_000

/** How long the freezer process may take to start, in milliseconds. */
const START_LIMIT_MS = 10_000

/** How long the freezer process may take to acknowledge the order to thaw before the agent takes over, in milliseconds. */
const HEARD_LIMIT_MS = 3_000

/** How long a backup waits for a guest to report that it is thawed, in milliseconds; the thaw continues after that. */
const THAW_WAIT_MS = 60_000

type Freezer = ChildProcessByStdio<Writable, Readable, null>

/** The guest to freeze and its machine, as the note of the freeze records them. */
export interface FreezeOptions {
  /** Of the guest, as `openGuest` takes it. */
  readonly guestAgent: string
  readonly machine: string
  readonly qmp: string
  readonly lease: string
  /** Mount points of the file systems to freeze, FREEZE_ONLY_MAX at most; all unless it is said. */
  readonly mountpoints?: readonly string[] | undefined
  /** Longest time from the freeze command to the thaw, in milliseconds; at most FREEZE_LIMIT_MAX_MS. */
  readonly timeoutMs?: number
  /** Thaws in place of a freezer process that dies or hangs. */
  readonly thawer: Thawer
}

/** How a freeze ended; `inTime` is false where the guest may have thawed before the order, so the point is not consistent. */
export interface Thaw {
  readonly frozenMs: number
  readonly inTime: boolean
}

/** A guest that is frozen until `thaw`, its time limit, or the death of this process or its freezer. */
export interface FrozenGuest {
  readonly pid: number
  thaw(): Promise<Thaw>
}

const start = (): Freezer => {
  const program = fileURLToPath(new URL('./freezer-process.ts', import.meta.url))
  const env = guardEnvironment()
  return spawn(process.execPath, [program], { detached: true, stdio: ['pipe', 'pipe', 'ignore'], env })
}

/** The reports of a freezer process, one at a time; null when it has ended. */
const reports = (child: Freezer): (() => Promise<FreezeReport | null>) => {
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return async () => {
    const next = await lines.next()
    if (next.done === true) return null
    const checked = v.safeParse(v.pipe(v.string(), v.parseJson(), freezeReportSchema), next.value)
    return checked.success ? checked.output : null
  }
}

const failure = (answer: FreezeReport | null): VarveError => {
  if (answer?.state === 'failed') {
    return new VarveError(isErrorCode(answer.code) ? answer.code : 'GUEST_AGENT_ERROR', answer.message)
  }
  return new VarveError('GUEST_AGENT_ERROR', 'the process that freezes the guest ended without an answer')
}

/** Lets the process finish: closing its input makes it thaw whatever it froze. */
const leave = (child: Freezer): void => {
  child.stdin.end()
  child.unref()
}

/** Orders the freezer to thaw; null when it is dead or does not respond, so that the agent must thaw. */
const tellThaw = async (child: Freezer, next: () => Promise<FreezeReport | null>): Promise<FreezeReport | null> => {
  child.stdin.write('thaw\n')
  const heard = await within(next(), HEARD_LIMIT_MS)
  if (heard?.state !== 'thawing') return heard
  const report = await within(next(), THAW_WAIT_MS)
  return report ?? (child.exitCode === null && child.signalCode === null ? heard : null)
}

/**
 * Freezes the guest's file systems. GUEST_AGENT_UNAVAILABLE when no agent answers, GUEST_AGENT_ERROR when it refuses or
 * an earlier freeze is not undone, FREEZE_TIMEOUT when it does not freeze within the limit. The guest is always thawed: by
 * the freezer process, by the agent if that dies, by the next agent if both do.
 */
export const freezeGuest = async (options: FreezeOptions): Promise<FrozenGuest> => {
  const { guestAgent, machine, qmp, lease, thawer, timeoutMs = FREEZE_LIMIT_MS } = options
  if (!(timeoutMs >= 1 && timeoutMs <= FREEZE_LIMIT_MAX_MS)) {
    throw new VarveError('PARAMS_INVALID', `a freeze lasts 1 to ${FREEZE_LIMIT_MAX_MS} ms`, {
      details: { timeoutMs },
    })
  }
  const id = randomUUID()
  const child = start()
  const ended = new Promise<null>((resolve) => {
    child.on('error', () => resolve(null))
  })
  child.stdin.on('error', () => undefined)
  /** Undoes a possible freeze in this process. */
  const takeOver = async (limitMs: number): Promise<void> => {
    child.kill('SIGKILL')
    await thawer.takeOver((note) => note.id === id, limitMs)
  }
  // a freezer that dies leaves nothing to undo unless its note is there
  child.once('exit', () => void takeOver(0))
  const next = reports(child)
  const { mountpoints } = options
  const order: FreezeOrder = { guestAgent, mountpoints, timeoutMs, notes: thawer.notes.folder, id, machine, qmp, lease }
  child.stdin.write(`${JSON.stringify(order)}\n`)
  const limitMs = START_LIMIT_MS + GUEST_SYNC_LIMIT_MS + GUEST_COMMAND_LIMIT_MS + timeoutMs
  const answer = await within(Promise.race([next(), ended]), limitMs)
  if (answer?.state !== 'frozen' || child.pid === undefined) {
    if (answer === null) await takeOver(0)
    leave(child)
    throw failure(answer)
  }
  const frozenSinceMs = performance.now()
  return {
    pid: child.pid,
    thaw: async () => {
      const report = await tellThaw(child, next)
      if (report === null || report.state === 'failed') await takeOver(THAW_WAIT_MS)
      leave(child)
      if (report?.state === 'thawed') return { frozenMs: report.frozenMs, inTime: report.inTime }
      return { frozenMs: performance.now() - frozenSinceMs, inTime: false }
    },
  }
}
