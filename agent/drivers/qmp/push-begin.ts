// What a lease in mode push makes in QEMU before its instant: the nodes that QEMU writes to, and the bit of each disk's end.
import * as v from 'valibot'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../../protocol/errors.ts'
import type { PushOrder } from '../../push/control.ts'
import { joinPushServer, startPushServer, type PushServer } from '../../push/server.ts'
import { BLOCK_BYTES } from '../../push/written.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import { checkAnswer } from '../../qmp/disks.ts'
import { sizeMarkOf } from '../checkpoint-names.ts'
import type { JournalDisk, QmpEntry } from './entry.ts'
import { readInventory } from './inventory.ts'
import { qmpPathOf } from './keys.ts'
import { otherOwner } from './scratch.ts'

/**
 * How long QEMU waits for the process it writes to when that has ended, in seconds, before a guest's write fails: another one
 * is started within one.
 */
const RECONNECT_SECONDS = 60

/** How long the job that sets one bit may take, in milliseconds, and how often it is looked at. */
const END_JOB_LIMIT_MS = 30_000
const END_JOB_POLL_MS = 5

/** The process that QEMU will write to; `broken` says why nothing of it may become a restore point. */
export const startWriter = async (entry: QmpEntry, broken: string | null): Promise<PushServer> => {
  const order: PushOrder = {
    spoolFolder: entry.scratchFolder,
    socketFolder: entry.socketFolder,
    owner: await otherOwner(qmpPathOf(entry.machine)),
    broken,
    disks: entry.disks.map(({ exportName, size, kind }) => ({ name: exportName, size, kind })),
  }
  return await startPushServer(order)
}

/** Takes what QEMU still writes, for nothing, where the process that did has ended: no guest's write may fail for that. */
export const standIn = async (entry: QmpEntry): Promise<void> => {
  using _server = (await joinPushServer(entry.socketFolder)) ?? (await startWriter(entry, 'its process has ended'))
}

export const addTargets = async (client: QmpCaller, { disks, socketPath }: QmpEntry): Promise<void> => {
  for (const { scratchNode, exportName } of disks)
    await client.execute('blockdev-add', {
      driver: 'nbd',
      'node-name': scratchNode,
      server: { type: 'unix', path: socketPath },
      export: exportName,
      'reconnect-delay': RECONNECT_SECONDS,
    })
}

/** Where the last block of a disk begins, and its length, in bytes. */
const lastBlock = (size: number): { offset: number; size: number } => {
  const offset = (Math.ceil(size / BLOCK_BYTES) - 1) * BLOCK_BYTES
  return { offset, size: size - offset }
}

/** Has a job write the last block of an empty node of the disk's size, whose bitmap then has that one bit. */
const setEnd = async (client: QmpCaller, { size, checkpoint, push }: JournalDisk): Promise<void> => {
  const { endSource, endTarget, endNode, endJob } = push!
  const last = lastBlock(size)
  const empty = { driver: 'null-co', 'read-zeroes': true }
  await client.execute('blockdev-add', { ...empty, 'node-name': endSource, size: last.size })
  const file = { ...empty, 'node-name': endNode, size }
  await client.execute('blockdev-add', { driver: 'raw', 'node-name': endTarget, ...last, file })
  await client.execute('block-dirty-bitmap-add', {
    node: endNode,
    name: sizeMarkOf(checkpoint),
    granularity: BLOCK_BYTES,
  })
  const job = { 'job-id': endJob, device: endSource, target: endTarget, sync: 'full', 'auto-dismiss': false }
  await client.execute('blockdev-backup', job)
}

/** The bits of all disks' ends, for the transaction to copy. */
export const setEnds = async (client: QmpCaller, { disks }: QmpEntry): Promise<void> => {
  for (const disk of disks) await setEnd(client, disk)
  const left = new Set(disks.map(({ push }) => push!.endJob))
  const deadlineMs = performance.now() + END_JOB_LIMIT_MS
  while (left.size > 0) {
    const { jobs } = await readInventory(client)
    for (const id of left) {
      const job = jobs.find((one) => one.id === id)
      if (job !== undefined && job.status !== 'concluded') continue
      if (job === undefined || job.error !== undefined)
        throw new VarveError('DISK_UNSUPPORTED', `QEMU could not mark a disk's end: ${job?.error ?? 'its job is gone'}`)
      await client.execute('job-dismiss', { id })
      left.delete(id)
    }
    if (performance.now() > deadlineMs) throw new VarveError('QMP_TIMEOUT', "QEMU did not mark the disks' ends in time")
    if (left.size > 0) await sleep(END_JOB_POLL_MS)
  }
}

/** Removes what `setEnds` made. */
export const removeEnds = async (client: QmpCaller, { disks }: QmpEntry): Promise<void> => {
  for (const { push } of disks)
    for (const node of [push!.endSource, push!.endTarget]) await client.execute('blockdev-del', { 'node-name': node })
}

const schemaSchema = v.array(
  v.looseObject({
    name: v.string(),
    'arg-type': v.optional(v.string()),
    members: v.optional(v.array(v.looseObject({ name: v.optional(v.string()) }))),
  }),
)

/** Whether this QEMU's backup jobs can be tuned (QEMU 6.0 and newer). */
export const hasTuning = async (client: QmpCaller): Promise<boolean> => {
  const schema = checkAnswer(schemaSchema, await client.execute('query-qmp-schema'), 'query-qmp-schema')
  const type = schema.find(({ name }) => name === 'blockdev-backup')?.['arg-type']
  return schema.find(({ name }) => name === type)?.members?.some(({ name }) => name === 'x-perf') ?? false
}
