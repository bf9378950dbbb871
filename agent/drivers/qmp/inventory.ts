// Which objects of a lease are in QEMU now, and whether the lease still holds.
import * as v from 'valibot'
import type { QmpCaller } from '../../qmp/client.ts'
import { checkAnswer, listNodes, type BlockNode } from '../../qmp/disks.ts'
import type { QmpEvent } from '../../qmp/message.ts'
import type { QmpEntry } from './entry.ts'

const exportsSchema = v.array(v.object({ id: v.string(), type: v.string() }))
const jobsSchema = v.array(v.object({ id: v.string(), status: v.string(), error: v.optional(v.string()) }))

export interface JobState {
  readonly id: string
  readonly status: string
  /** Why it failed; absent where it did not. */
  readonly error?: string | undefined
}

/** Exports, jobs and nodes of a machine, whoever made them. */
export interface Inventory {
  readonly exports: readonly { readonly id: string; readonly type: string }[]
  readonly jobs: readonly JobState[]
  readonly nodes: readonly BlockNode[]
}

export const readInventory = async (client: QmpCaller): Promise<Inventory> => ({
  exports: checkAnswer(exportsSchema, await client.execute('query-block-exports'), 'query-block-exports'),
  jobs: checkAnswer(jobsSchema, await client.execute('query-jobs'), 'query-jobs'),
  nodes: await listNodes(client),
})

/** States of a job that still copies old blocks before the guest overwrites them. */
const WORKING: ReadonlySet<string> = new Set(['created', 'running', 'paused', 'ready', 'standby'])

/** Whether a job that writes a disk goes on, or has ended well: it stays until it is dismissed. */
const writes = (job: JobState | undefined): boolean =>
  job !== undefined && (['waiting', 'pending'].includes(job.status) || WORKING.has(job.status) || hasWritten(job))

/** Whether such a job has ended well. */
export const hasWritten = ({ status, error }: JobState): boolean => status === 'concluded' && error === undefined

const ended = (disk: string, error: string | undefined): string =>
  `the copy job of disk ${disk} has ended${error === undefined ? '' : `: ${error}`}`

/** Why the lease does not hold, as a sentence; null when all of it is there. */
export const findBreak = (entry: QmpEntry, inventory: Inventory): string | null => {
  const jobs = new Map(inventory.jobs.map((job) => [job.id, job]))
  const exports = new Set(inventory.exports.map(({ id }) => id))
  const nodes = new Map(inventory.nodes.map((node) => [node.node, node]))
  const pulls = entry.mode === 'pull'
  for (const { name, node, job, exportId, scratchNode, access, checkpoint } of entry.disks) {
    const state = jobs.get(job)
    if (pulls ? !WORKING.has(state?.status ?? 'gone') : !writes(state)) return ended(name, state?.error)
    if (pulls && !exports.has(exportId)) return `the export of disk ${name} is gone`
    if (access !== null && !nodes.has(access.node)) return `the snapshot node of disk ${name} is gone`
    if (!nodes.has(scratchNode)) return `the scratch node of disk ${name} is gone`
    const bitmap = nodes.get(node)?.bitmaps.find((candidate) => candidate.name === checkpoint)
    if (bitmap === undefined || bitmap.inconsistent) return `the new checkpoint of disk ${name} is gone`
  }
  return null
}

const ENDINGS: ReadonlySet<unknown> = new Set(['aborting', 'concluded', 'null'])

/** Of a job that writes: how it concluded is asked. */
const PUSH_ENDINGS: ReadonlySet<unknown> = new Set(['aborting', 'null'])

/** Why an event of QEMU breaks the lease, as a sentence; null when it does not. */
export const breakingEvent = (entry: QmpEntry, { event, data }: QmpEvent): string | null => {
  const endings = entry.mode === 'pull' ? ENDINGS : PUSH_ENDINGS
  const disk = entry.disks.find(({ job, exportId }) => {
    if (event === 'JOB_STATUS_CHANGE') return data['id'] === job && endings.has(data['status'])
    if (event === 'BLOCK_JOB_ERROR') return data['device'] === job
    return event === 'BLOCK_EXPORT_DELETED' && data['id'] === exportId
  })
  if (disk === undefined) return null
  return event === 'BLOCK_EXPORT_DELETED'
    ? `the export of disk ${disk.name} is gone`
    : `the copy job of disk ${disk.name} has ended`
}
