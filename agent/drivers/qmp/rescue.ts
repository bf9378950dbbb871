// Cancels a lease's copy jobs, and resumes a guest that stopped because their scratch space was full.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as v from 'valibot'
import { VarveError } from '../../../protocol/errors.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import { checkAnswer, diskNames, listNodes } from '../../qmp/disks.ts'
import { isThere } from '../scratch-guard-order.ts'
import type { QmpEntry } from './entry.ts'

/** How long the removal of what shows a snapshot may take, and the pause between two tries, in milliseconds. */
const ACCESS_LIMIT_MS = 10_000
const ACCESS_PAUSE_MS = 5

const statusSchema = v.object({ status: v.string() })

const blocksSchema = v.array(
  v.object({
    device: v.optional(v.string(), ''),
    qdev: v.optional(v.string(), ''),
    inserted: v.optional(v.object({ 'node-name': v.optional(v.string(), '') })),
    'io-status': v.optional(v.string(), 'ok'),
  }),
)

/** What must be removed before a job may end: the export of a disk's snapshot, and the node that is exported. */
export interface RescuedAccess {
  readonly exportId: string
  readonly node: string
}

/** What a rescue needs of a lease: its jobs, what shows their snapshots, the names of its disks, its scratch folder. */
export interface Rescued {
  readonly jobs: readonly string[]
  readonly accesses: readonly RescuedAccess[]
  readonly disks: readonly string[]
  readonly folder: string
}

export const rescuedOf = ({ disks, scratchFolder }: QmpEntry): Rescued => ({
  jobs: disks.map(({ job }) => job),
  accesses: disks.flatMap(({ exportId, access }) => (access === null ? [] : [{ exportId, node: access.node }])),
  disks: disks.map(({ name }) => name),
  folder: scratchFolder,
})

/** The file that notes that the machine had stopped on an error before the lease began. */
const markerFile = (folder: string): string => join(folder, 'stopped-before')

const isStoppedByError = async (client: QmpCaller): Promise<boolean> =>
  checkAnswer(statusSchema, await client.execute('query-status'), 'query-status').status === 'io-error'

/** Called before a lease's instant: a machine that has already stopped is not ours to resume. */
export const noteStopped = async (client: QmpCaller, folder: string): Promise<void> => {
  if (await isStoppedByError(client)) await writeFile(markerFile(folder), '')
}

/**
 * Whether the machine is stopped because the lease's scratch space is full: it ran at the instant, it has stopped on an
 * error, and every disk that reports one reports "no space" and is the lease's. Only meaningful while the scratch space
 * is low. A disk whose own file system is full too stops the machine again anyway.
 */
export const isStoppedByScratch = async (client: QmpCaller, { disks, folder }: Rescued): Promise<boolean> => {
  if (!(await isStoppedByError(client))) return false
  if (await isThere(markerFile(folder))) return false
  const blocks = checkAnswer(blocksSchema, await client.execute('query-block'), 'query-block')
  const failed = blocks.filter((block) => block['io-status'] !== 'ok')
  return (
    failed.length > 0 &&
    failed.every(({ device, qdev, inserted, 'io-status': io }) => {
      const names = diskNames({ device, qdev, node: inserted?.['node-name'] ?? '' })
      return io === 'nospace' && names.some((name) => disks.includes(name))
    })
  )
}

/** Whether QEMU took a command; a refusal is judged by what is there afterwards. */
const isTaken = async (client: QmpCaller, command: string, args: Record<string, unknown>): Promise<boolean> => {
  try {
    await client.execute(command, args)
    return true
  } catch (error) {
    if (!(error instanceof VarveError) || error.code !== 'QMP_ERROR') throw error
    return false
  }
}

/**
 * Removes what shows a job's snapshot. A job that ends while its export is being removed makes QEMU stand still, so this must be
 * over first: QMP_TIMEOUT where it is not in time.
 */
const removeAccess = async (client: QmpCaller, { exportId, node }: RescuedAccess): Promise<void> => {
  const deadlineMs = performance.now() + ACCESS_LIMIT_MS
  await isTaken(client, 'block-export-del', { id: exportId, mode: 'hard' })
  while (!(await isTaken(client, 'blockdev-del', { 'node-name': node }))) {
    const nodes = await listNodes(client)
    if (nodes.every((each) => each.node !== node)) return
    if (performance.now() > deadlineMs)
      throw new VarveError('QMP_TIMEOUT', `the export of a snapshot could not be removed within ${ACCESS_LIMIT_MS} ms`)
    await sleep(ACCESS_PAUSE_MS)
  }
}

const cancel = async (client: QmpCaller, device: string): Promise<void> => {
  try {
    await client.execute('block-job-cancel', { device, force: true })
  } catch (error) {
    // a job that is gone already needs no cancelling
    if (!(error instanceof VarveError) || error.code !== 'QMP_ERROR') throw error
  }
}

/**
 * Cancels the jobs of a lease whose scratch space is low; true when it had to resume the guest. QMP_UNAVAILABLE and
 * QMP_TIMEOUT when QEMU cannot be reached.
 */
export const giveUpJobs = async (client: QmpCaller, rescued: Rescued): Promise<boolean> => {
  await Promise.all(rescued.accesses.map((access) => removeAccess(client, access)))
  await Promise.all(rescued.jobs.map((job) => cancel(client, job)))
  const stopped = await isStoppedByScratch(client, rescued)
  if (stopped) await client.execute('cont')
  return stopped
}
