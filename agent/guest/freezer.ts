// Freezes a guest's file systems through a guard process that outlives the agent.

import { spawn } from 'node:child_process'
import type { ChildProcessByStdio } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import * as v from 'valibot'
import { VarveError, isErrorCode } from '../../protocol/errors.ts'
import { guardEnvironment } from '../guard-environment.ts'
import { GUEST_COMMAND_LIMIT_MS, GUEST_SYNC_LIMIT_MS } from './channel.ts'
import { FREEZE_LIMIT_MAX_MS, freezeReportSchema } from './freeze-messages.ts'
import type { FreezeReport } from './freeze-messages.ts'
import { THAW_LIMIT_MS, thawVerified } from './thaw.ts'

/** How long a guest may stay frozen unless the configuration says otherwise, in milliseconds. */
export const FREEZE_LIMIT_MS = 10_000

/** How long the freezer process may take to start, in milliseconds. */
const START_LIMIT_MS = 10_000

type Freezer = ChildProcessByStdio<Writable, Readable, null>

export interface FreezeOptions {
  readonly socketPath: string
  /** Longest time from the freeze command to the thaw, in milliseconds; at most FREEZE_LIMIT_MAX_MS. */
  readonly timeoutMs?: number
}

/** How a freeze ended; `inTime` false means that the guest had thawed before it was told, so the point is not consistent. */
export interface Thaw {
  readonly frozenMs: number
  readonly inTime: boolean
}

/** A guest that is frozen until `thaw`, its time limit, or the death of this process. */
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

const within = async <T>(promise: Promise<T>, limitMs: number): Promise<T | null> => {
  const { promise: late, resolve } = Promise.withResolvers<null>()
  const timer = setTimeout(() => resolve(null), limitMs)
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

const failure = (answer: FreezeReport | null): VarveError => {
  if (answer?.state === 'failed') {
    return new VarveError(isErrorCode(answer.code) ? answer.code : 'GUEST_AGENT_ERROR', answer.message)
  }
  return new VarveError('GUEST_AGENT_ERROR', 'The process that freezes the guest ended without an answer.')
}

/** Lets the process finish on its own: closing its input makes it thaw whatever it froze. */
const leave = (child: Freezer): void => {
  child.stdin.end()
  child.unref()
}

/**
 * Freezes the guest's file systems. GUEST_AGENT_UNAVAILABLE when no agent answers, GUEST_AGENT_ERROR when it refuses,
 * FREEZE_TIMEOUT when it does not freeze within the limit; in every case the guest ends thawed.
 */
export const freezeGuest = async ({ socketPath, timeoutMs = FREEZE_LIMIT_MS }: FreezeOptions): Promise<FrozenGuest> => {
  if (!(timeoutMs >= 1 && timeoutMs <= FREEZE_LIMIT_MAX_MS)) {
    throw new VarveError('PARAMS_INVALID', `A freeze may last 1 to ${FREEZE_LIMIT_MAX_MS} ms.`, {
      details: { timeoutMs },
    })
  }
  const child = start()
  const ended = new Promise<null>((resolve) => {
    child.on('error', () => resolve(null))
  })
  child.stdin.on('error', () => undefined)
  const next = reports(child)
  child.stdin.write(`${JSON.stringify({ socketPath, timeoutMs })}\n`)
  const limitMs = START_LIMIT_MS + GUEST_SYNC_LIMIT_MS + GUEST_COMMAND_LIMIT_MS + timeoutMs
  const answer = await within(Promise.race([next(), ended]), limitMs)
  if (answer?.state !== 'frozen' || child.pid === undefined) {
    leave(child)
    throw failure(answer)
  }
  const frozenSinceMs = performance.now()
  return {
    pid: child.pid,
    thaw: async () => {
      child.stdin.write('thaw\n')
      const report = await within(next(), THAW_LIMIT_MS + GUEST_COMMAND_LIMIT_MS)
      leave(child)
      if (report?.state === 'thawed') return { frozenMs: report.frozenMs, inTime: report.inTime }
      if (report?.state === 'failed') throw failure(report)
      // the process was killed: its work falls to us
      await thawVerified({ socketPath })
      return { frozenMs: performance.now() - frozenSinceMs, inTime: false }
    },
  }
}
