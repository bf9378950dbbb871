// What a lease in mode push makes in QEMU before its instant: the nodes that QEMU writes to, and the bit of each disk's end.
import * as v from 'valibot'
import { VarveError } from '../../../protocol/errors.ts'
import type { PushOrder } from '../../push/control.ts'
import { BLOCK_BYTES } from '../../push/written.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import { checkAnswer, listNodes } from '../../qmp/disks.ts'
import { sizeMarkOf } from '../checkpoint-names.ts'
import type { JournalDisk, QmpEntry } from './entry.ts'
import { qmpPathOf } from './keys.ts'
import { otherOwner } from './scratch.ts'

/**
 * How long QEMU waits for the process it writes to when that has ended, in seconds, before a guest's write fails: this
 * agent stands in within one.
 */
const RECONNECT_SECONDS = 60

/** What the process is to do that QEMU writes to. */
export const pushOrder = async (entry: QmpEntry): Promise<PushOrder> => ({
  spoolFolder: entry.scratchFolder,
  socketFolder: entry.socketFolder,
  owner: await otherOwner(qmpPathOf(entry.machine)),
  broken: null,
  disks: entry.disks.map(({ exportName, size, kind }) => ({ name: exportName, size, kind })),
})

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

/**
 * Writes the last block of an empty node of the disk's size, whose bitmap then has that one bit. No command of QEMU's sets bits,
 * and a backup job on an empty node ends QEMU 5.2 when its nodes are listed meanwhile.
 */
const setEnd = async (client: QmpCaller, { size, checkpoint, push }: JournalDisk): Promise<void> => {
  const { endNode } = push!
  const last = lastBlock(size)
  await client.execute('blockdev-add', { driver: 'null-co', 'node-name': endNode, size })
  await client.execute('block-dirty-bitmap-add', {
    node: endNode,
    name: sizeMarkOf(checkpoint),
    granularity: BLOCK_BYTES,
  })
  const write = `qemu-io ${endNode} "write -q ${last.offset} ${last.size}"`
  await client.execute('human-monitor-command', { 'command-line': write })
}

/** The bits of all disks' ends, for the transaction to copy. DISK_UNSUPPORTED. */
export const setEnds = async (client: QmpCaller, { disks }: QmpEntry): Promise<void> => {
  for (const disk of disks) await setEnd(client, disk)
  const nodes = new Map((await listNodes(client)).map((node) => [node.node, node]))
  // that command does not tell of failures
  const unset = disks.find(({ push }) => nodes.get(push!.endNode)?.bitmaps[0]?.count !== BLOCK_BYTES)
  if (unset !== undefined)
    throw new VarveError('DISK_UNSUPPORTED', `QEMU could not mark the end of disk ${unset.name}: use mode "pull"`)
}

/** Removes what `setEnds` made. */
export const removeEnds = async (client: QmpCaller, { disks }: QmpEntry): Promise<void> => {
  for (const { push } of disks) await client.execute('blockdev-del', { 'node-name': push!.endNode })
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
