// Cancels a lease's copy jobs, and resumes a guest that stopped because their scratch space was full.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { VarveError } from '../../../protocol/errors.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import { checkAnswer, diskNames } from '../../qmp/disks.ts'
import { isThere } from '../scratch-guard-order.ts'
import type { QmpEntry } from './entry.ts'

const statusSchema = v.object({ status: v.string() })

const blocksSchema = v.array(
  v.object({
    device: v.optional(v.string(), ''),
    qdev: v.optional(v.string(), ''),
    inserted: v.optional(v.object({ 'node-name': v.optional(v.string(), '') })),
    'io-status': v.optional(v.string(), 'ok'),
  }),
)

/** What a rescue needs of a lease: its jobs, the names of its disks, its scratch folder. */
export interface Rescued {
  readonly jobs: readonly string[]
  readonly disks: readonly string[]
  readonly folder: string
}

export const rescuedOf = ({ disks, scratchFolder }: QmpEntry): Rescued => ({
  jobs: disks.map(({ job }) => job),
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
  await Promise.all(rescued.jobs.map((job) => cancel(client, job)))
  const stopped = await isStoppedByScratch(client, rescued)
  if (stopped) await client.execute('cont')
  return stopped
}
