// Guards a lease's scratch space as a process of its own: when the agent dies and the space runs low, it cancels the
// lease's copy jobs, so that the guest's writes go on.
//
//   standard input    one line of JSON (GuardOrder), then "done"; its end without "done" means that the agent is gone
//   standard output   "ready"

import { readFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import * as v from 'valibot'
import { QmpClient } from '../qmp/client.ts'
import { isGone } from './finish.ts'
import { nbdServerListens } from './nbd-probe.ts'
import { guardOrderSchema, guardTokenFile } from './scratch-guard.ts'
import type { GuardOrder } from './scratch-guard.ts'
import { freeBytes } from './scratch.ts'
import { SCRATCH_POLL_MS, watchScratch } from './scratch-watch.ts'

/** How often the guard looks whether it is still needed while the agent lives, in milliseconds. */
const IDLE_POLL_MS = 2_000

/** How often a guard that is alone looks whether QEMU is still there, in milliseconds. */
const GONE_POLL_MS = 5_000

/** Whether this guard is still the one on duty. */
const onDuty = async ({ folder, token }: GuardOrder): Promise<boolean> => {
  const holder = await readFile(guardTokenFile(folder), 'utf8').catch(() => null)
  return holder === token
}

/** Whether QEMU has ended: then nothing writes to the scratch space any more. */
const machineIsGone = async ({ nbdPath, qmpPath }: GuardOrder): Promise<boolean> => {
  // the monitor takes one client, and a restarted agent must find it free: it is tried only where the export is gone
  if (await nbdServerListens(nbdPath)) return false
  try {
    await using client = await QmpClient.connect({ path: qmpPath })
    await client.execute('query-status')
    return false
  } catch (error) {
    return isGone(error)
  }
}

const cancelJobs = async ({ qmpPath, jobs }: GuardOrder): Promise<boolean> => {
  try {
    await using client = await QmpClient.connect({ path: qmpPath })
    // a job that is gone already needs no cancelling
    await Promise.all(
      jobs.map((device) => client.execute('block-job-cancel', { device, force: true }).catch(() => null)),
    )
    return true
  } catch {
    return false
  }
}

const watchAlone = async (order: GuardOrder): Promise<void> => {
  const leaving = new AbortController()
  const relieved = (async () => {
    let lookedMs = performance.now()
    while (await onDuty(order)) {
      await sleep(SCRATCH_POLL_MS)
      if (performance.now() - lookedMs < GONE_POLL_MS) continue
      if (await machineIsGone(order)) break
      lookedMs = performance.now()
    }
    leaving.abort()
  })()
  const { folder, reserveBytes } = order
  const low = await watchScratch({ folder, reserveBytes, freeBytes, signal: leaving.signal })
  if (low !== null) {
    while ((await onDuty(order)) && !(await cancelJobs(order))) await sleep(SCRATCH_POLL_MS)
    return
  }
  await relieved
}

const main = async (): Promise<void> => {
  process.stdout.on('error', () => undefined)
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
  const first = await lines.next()
  if (first.done === true) return
  const order = v.parse(guardOrderSchema, JSON.parse(first.value))
  process.stdout.write('ready\n')
  const unneeded = setInterval(() => {
    if (!existsSync(order.folder)) process.exit(0)
  }, IDLE_POLL_MS)
  const next = await lines.next()
  clearInterval(unneeded)
  if (next.done === true) await watchAlone(order)
}

for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)
await main()
process.exit(0)
