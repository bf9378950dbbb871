// Ends a lease for good: removes what it left in the guest, in QEMU, on disk and in the journal, in this order.

import { VarveError } from '../../../protocol/errors.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import { listNodes } from '../../qmp/disks.ts'
import { isGone } from './gone.ts'
import type { QmpHost } from './host.ts'
import { writeEntry, type QmpEntry } from './entry.ts'
import type { LeaseOutcome } from '../driver.ts'
import { endLease } from '../ending.ts'
import { lookAtScratch } from '../scratch-watch.ts'
import { qmpPathOf } from './keys.ts'
import { isThere } from '../scratch-guard-order.ts'
import { pushOrder } from './push-begin.ts'
import { isStoppedByScratch, rescuedOf } from './rescue.ts'
import { findMove, findMoved } from './run-state.ts'
import { leaseTarget, tearDown, type TeardownTarget } from './teardown.ts'

/** Whether the guest is stopped because the lease's scratch space is full, and must be resumed once it is free again. */
const standsStill = async (host: QmpHost, client: QmpCaller, entry: QmpEntry): Promise<boolean> => {
  const { reserveBytes, freeBytes } = host
  const free = await lookAtScratch({ folder: entry.scratchFolder, freeBytes })
  return free < reserveBytes && (await isStoppedByScratch(client, rescuedOf(entry)))
}

/** Bitmaps of a machine that has moved stay until it is back: changing them would keep it from running here again. */
const stillMoved = (machine: string, moved: string): VarveError =>
  new VarveError('MACHINE_MOVING', `checkpoints of machine ${machine} cannot be removed now: ${moved}`, {
    details: { machine },
  })

/**
 * MACHINE_MOVING unless the bitmaps may be removed: not after a move, and not during one that takes bitmaps along, for which
 * QEMU holds every one of them until it has ended.
 */
const refuseBitmaps = async (client: QmpCaller, { machine }: QmpEntry, target: TeardownTarget): Promise<void> => {
  const moved = await findMoved(client)
  if (moved !== null) throw stillMoved(machine.name, moved)
  const move = await findMove(client)
  if (move === null) return
  const nodes = await listNodes(client)
  const held = nodes.map((node) => ({ ...node, bitmaps: node.bitmaps.filter(({ busy }) => busy) }))
  if (target.bitmaps(held).length > 0) throw stillMoved(machine.name, move)
}

/** Takes the place of the process that QEMU still has to write to, where that has ended: a guest's write may wait for it. */
export const standWhereNeeded = async (host: QmpHost, client: QmpCaller, entry: QmpEntry): Promise<void> => {
  if (entry.mode !== 'push') return
  const targets = new Set(entry.disks.map(({ scratchNode }) => scratchNode))
  const writes = (await listNodes(client)).some(({ node }) => targets.has(node))
  if (writes && (await isThere(entry.socketFolder))) {
    await host.standIns.begin(await pushOrder(entry))
  }
}

const finish = (host: QmpHost, entry: QmpEntry, outcome: LeaseOutcome): Promise<void> =>
  endLease(host, entry, outcome, {
    write: (ending) => writeEntry(host.journal, ending),
    tearDown: async (settled) => {
      const target = leaseTarget(entry, settled, await host.journal.keptCheckpoints(entry.id))
      const client = await host.connect(qmpPathOf(entry.machine))
      const moved = await findMoved(client)
      await standWhereNeeded(host, client, entry)
      const stopped = moved === null && (await standsStill(host, client, entry))
      await tearDown(client, { ...target, bitmaps: () => [] })
      await tearDown(client, target, () => refuseBitmaps(client, entry, target))
      return stopped ? () => client.execute('cont') : null
    },
    unavailable: 'QMP_UNAVAILABLE',
    isGone,
    hasBitmaps: entry.disks.some(({ persistent }) => persistent),
  })

/**
 * Removes exactly what the entry's lease made, then the entry; see endLease. QMP_UNAVAILABLE when QEMU is gone and bitmaps may
 * remain in its images: the entry stays.
 */
export const finishLease = async (host: QmpHost, entry: QmpEntry, outcome: LeaseOutcome): Promise<void> => {
  try {
    await finish(host, entry, outcome)
  } finally {
    if (entry.mode === 'push' && !(await isThere(entry.socketFolder))) await host.standIns.end(entry.socketFolder)
  }
}
