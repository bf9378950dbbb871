// Which objects of a lease are in QEMU now, and whether the lease still holds.
import * as v from 'valibot'
import type { QmpCaller } from '../../qmp/client.ts'
import { checkAnswer, listNodes, type BlockNode } from '../../qmp/disks.ts'
import type { QmpEvent } from '../../qmp/message.ts'
import type { QmpEntry } from './entry.ts'

const exportsSchema = v.array(v.object({ id: v.string(), type: v.string() }))
const jobsSchema = v.array(v.object({ id: v.string(), status: v.string() }))

/** Exports, jobs and nodes of a machine, whoever made them. */
export interface Inventory {
  readonly exports: readonly { readonly id: string; readonly type: string }[]
  readonly jobs: readonly { readonly id: string; readonly status: string }[]
  readonly nodes: readonly BlockNode[]
}

export const readInventory = async (client: QmpCaller): Promise<Inventory> => ({
  exports: checkAnswer(exportsSchema, await client.execute('query-block-exports'), 'query-block-exports'),
  jobs: checkAnswer(jobsSchema, await client.execute('query-jobs'), 'query-jobs'),
  nodes: await listNodes(client),
})

/** States of a job that still copies old blocks before the guest overwrites them. */
const WORKING: ReadonlySet<string> = new Set(['created', 'running', 'paused', 'ready', 'standby'])

/** Why the lease does not hold, as a sentence; null when all of it is there. */
export const findBreak = (entry: QmpEntry, inventory: Inventory): string | null => {
  const jobs = new Map(inventory.jobs.map(({ id, status }) => [id, status]))
  const exports = new Set(inventory.exports.map(({ id }) => id))
  const nodes = new Map(inventory.nodes.map((node) => [node.node, node]))
  for (const { name, node, job, exportId, scratchNode, access, checkpoint } of entry.disks) {
    if (!WORKING.has(jobs.get(job) ?? 'gone')) return `the copy job of disk ${name} has ended`
    if (!exports.has(exportId)) return `the export of disk ${name} is gone`
    if (access !== null && !nodes.has(access.node)) return `the snapshot node of disk ${name} is gone`
    if (!nodes.has(scratchNode)) return `the scratch node of disk ${name} is gone`
    const bitmap = nodes.get(node)?.bitmaps.find((candidate) => candidate.name === checkpoint)
    if (bitmap === undefined || bitmap.inconsistent) return `the new checkpoint of disk ${name} is gone`
  }
  return null
}

const ENDINGS: ReadonlySet<unknown> = new Set(['aborting', 'concluded', 'null'])

/** Why an event of QEMU breaks the lease, as a sentence; null when it does not. */
export const breakingEvent = (entry: QmpEntry, { event, data }: QmpEvent): string | null => {
  const disk = entry.disks.find(({ job, exportId }) => {
    if (event === 'JOB_STATUS_CHANGE') return data['id'] === job && ENDINGS.has(data['status'])
    if (event === 'BLOCK_JOB_ERROR') return data['device'] === job
    return event === 'BLOCK_EXPORT_DELETED' && data['id'] === exportId
  })
  if (disk === undefined) return null
  return event === 'BLOCK_EXPORT_DELETED'
    ? `the export of disk ${disk.name} is gone`
    : `the copy job of disk ${disk.name} has ended`
}
