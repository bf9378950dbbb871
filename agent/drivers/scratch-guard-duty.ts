// What a guard process of any driver does: it watches a lease's scratch space, and when that runs low and the agent is dead
// or hangs, it cancels the lease's copy jobs, so that the guest's writes continue.
//
//   standard input    one line of JSON (GuardOrder), then "alive" again and again, "acting" when the agent cancels
//                     the jobs itself, "done" when the lease has ended; its end without "done": the agent is gone
//   standard output   "ready", then "here" for each "alive"
import * as v from 'valibot'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { within } from '../../protocol/host/within.ts'
import type { JsonValue } from '../json-value.ts'
import { endProcess, processState } from '../process-mark.ts'
import {
  GUARD_RELIEVED,
  agentEndedFile,
  guardOrderSchema,
  guardTokenFile,
  isThere,
  type GuardOrder,
} from './scratch-guard-order.ts'
import { freeBytes } from './scratch.ts'
import { watchScratch } from './scratch-watch.ts'

/** How often the guard checks whether it is still on duty, in milliseconds. */
const DUTY_POLL_MS = 200

/** How often a guard without an agent checks whether QEMU is still there, in milliseconds. */
const GONE_POLL_MS = 5_000

/** An agent that has said nothing for this long while the space is low is taken to hang, in milliseconds. */
const AGENT_SILENT_MS = 1_000

/** The same for an agent that has said that it cancels the jobs, in milliseconds. */
const AGENT_ACTING_MS = 5_000

/** Pause between two looks at an agent while the space is low, in milliseconds. */
const LOW_POLL_MS = 20

/** How long a file operation may take, in milliseconds: the scratch space may be on a file system that hangs. */
const FILE_LIMIT_MS = 1_000

/** How long a guard without a folder tries to cancel jobs that it cannot reach, in milliseconds. */
const FOLDERLESS_LIMIT_MS = 60_000

/** A driver's way to the jobs of one lease. */
export interface GuardedJobs {
  /** A living agent is in the way: nothing can be cancelled beside one that hangs. */
  readonly exclusive: boolean
  /** Cancels the jobs; true when nothing is left to do. */
  cancel(): Promise<boolean>
  /** Whether the machine has ended: then nothing writes to the scratch space. */
  isGone(): Promise<boolean>
}

/** What the guard knows of the agent. */
interface Agent {
  heardMs: number
  actingMs: number | null
  gone: boolean
}

/** Goes on duty in place of an earlier guard; a file system that hangs does not prevent it. */
const takeDuty = async ({ folder, token }: GuardOrder): Promise<void> => {
  const file = guardTokenFile(folder)
  await within(
    writeFile(`${file}.${token}`, token).then(() => rename(`${file}.${token}`, file)),
    FILE_LIMIT_MS,
  )
}

/** Whether another guard is on duty. */
const isRelieved = async ({ folder, token }: GuardOrder): Promise<boolean> => {
  const holder = await within(
    readFile(guardTokenFile(folder), 'utf8').catch(() => null),
    FILE_LIMIT_MS,
  )
  return holder !== null && holder !== token
}

/** Whether a living agent cannot be relied on to cancel the jobs. */
const hangs = ({ agent }: GuardOrder, { heardMs, actingMs }: Agent): boolean => {
  if (agent !== null && processState(agent) === 'stopped') return true
  const silentMs = performance.now() - heardMs
  return silentMs > (actingMs === null ? AGENT_SILENT_MS : AGENT_ACTING_MS)
}

/** Kills an agent that hangs, as it holds the only way to the hypervisor, and notes it for the next agent. */
const endAgent = async (order: GuardOrder): Promise<void> => {
  if (order.agent === null) return
  const why = `it did not respond while the scratch space was low (less than ${order.reserveBytes} bytes free)`
  const text = JSON.stringify({ timeMs: Date.now(), pid: order.agent.pid, why })
  if (!endProcess(order.agent)) return
  await within(
    writeFile(agentEndedFile(order.folder), text).catch(() => undefined),
    FILE_LIMIT_MS,
  )
}

/** The space is low: makes sure that the jobs are cancelled, by the agent if it lives. */
const giveUp = async (order: GuardOrder, agent: Agent, jobs: GuardedJobs): Promise<void> => {
  const startedMs = performance.now()
  for (;;) {
    if (await isRelieved(order)) process.exit(GUARD_RELIEVED)
    const silent = agent.gone || hangs(order, agent)
    if (silent && (agent.gone || !jobs.exclusive)) {
      if (await jobs.cancel()) return
      if (performance.now() - startedMs > FOLDERLESS_LIMIT_MS && !(await isThere(order.folder))) return
    } else if (silent) await endAgent(order)
    else if (!(await isThere(order.folder))) return
    await sleep(LOW_POLL_MS)
  }
}

/** Leaves once another guard is on duty, or once the agent and the machine are both gone. */
const leaveWhenUnneeded = async (order: GuardOrder, agent: Agent, jobs: GuardedJobs): Promise<never> => {
  let lookedMs = performance.now()
  for (;;) {
    await sleep(DUTY_POLL_MS)
    if (await isRelieved(order)) process.exit(GUARD_RELIEVED)
    if (!agent.gone || performance.now() - lookedMs < GONE_POLL_MS) continue
    if (await jobs.isGone()) process.exit(0)
    lookedMs = performance.now()
  }
}

const guard = async (jobsOf: (rescue: JsonValue) => GuardedJobs): Promise<void> => {
  process.stdout.on('error', () => undefined)
  const agent: Agent = { heardMs: performance.now(), actingMs: null, gone: false }
  const first = Promise.withResolvers<string | null>()
  const lines = createInterface({ input: process.stdin })
  lines.on('line', (line) => {
    agent.heardMs = performance.now()
    if (line === 'done') process.exit(0)
    else if (line === 'acting') agent.actingMs = agent.heardMs
    else if (line === 'alive') process.stdout.write('here\n')
    else first.resolve(line)
  })
  lines.on('close', () => {
    agent.gone = true
    first.resolve(null)
  })
  const text = await first.promise
  if (text === null) return
  const order = v.parse(guardOrderSchema, JSON.parse(text))
  const jobs = jobsOf(order.rescue)
  await takeDuty(order)
  process.stdout.write('ready\n')
  void leaveWhenUnneeded(order, agent, jobs)
  const { folder, reserveBytes } = order
  const { signal } = new AbortController()
  await watchScratch({ folder, reserveBytes, freeBytes, signal })
  await giveUp(order, agent, jobs)
}

/** Runs this process as a guard until it is not needed any more, and ends it; `jobsOf` takes what the driver ordered. */
export const guardDuty = async (jobsOf: (rescue: JsonValue) => GuardedJobs): Promise<never> => {
  for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)
  await guard(jobsOf)
  process.exit(0)
}
