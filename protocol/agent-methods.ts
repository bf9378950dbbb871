// The methods that the gateway calls on an agent; spread into the table of methods.
import * as v from 'valibot'
import { heldLease, leaseEnded, leaseOrdered, leaseRenewed, leaseTargets, targetRemoved } from './leases.ts'
import { none, streamOf } from './method.ts'
import { allowedPlaces, askedPlaces, orderedDisk, restoredDisk, restoreProgress } from './restores.ts'
import * as s from './schemas.ts'
import { chunking, reread } from './transfer.ts'
import { checkpointList, forget, machineStatus, qmp, qmpEvent } from './views.ts'

const plain = { up: null, down: null, audited: false, servedBy: 'agent', roles: [] } as const

const order = v.object({
  restore: s.uuid,
  point: s.uuid,
  disks: s.disks(orderedDisk),
  overwrite: v.boolean(),
})
const ordered = v.object({ disks: s.disks(restoredDisk) })

const jobParams = v.object({ job: s.uuid })
const machineParams = v.object({ machine: s.name })

export const AGENT_METHODS = {
  'agent.backup': {
    ...plain,
    params: v.object({
      job: s.uuid,
      machine: s.name,
      full: v.boolean(),
      policy: s.policy,
      ...chunking.entries,
      /** The restore point that this one may continue; nil where there is none. */
      base: v.nullable(
        v.object({
          /** Its id, which its checkpoint's bitmaps carry; nil where it was made without one. */
          checkpoint: v.nullable(s.uuid),
          /** The agent that made it, whose names the bitmaps have. */
          agent: s.uuid,
          /** In the order of the restore point, by which its checkpoint's bitmaps are numbered. */
          disks: s.disks(
            v.object({
              name: s.diskName,
              size: s.diskBytes,
              reread,
              evidence: v.nullable(s.evidence),
              /** A comparison found that its bitmap has missed changes: it is read in full. Older gateways do not say it. */
              missed: v.optional(v.boolean(), false),
            }),
          ),
        }),
      ),
      /** All that is said to be unchanged is compared with the base. */
      compare: v.boolean(),
    }),
    result: none,
  },
  'agent.cancel': { ...plain, params: jobParams, result: none },
  'agent.status': { ...plain, params: machineParams, result: machineStatus },
  'agent.checkpoints': { ...plain, params: machineParams, result: checkpointList },
  'agent.forget': { ...plain, ...forget },
  'agent.lease': { ...plain, params: leaseOrdered, result: heldLease },
  'agent.renewLease': { ...plain, ...leaseRenewed },
  /** Repeatable. */
  'agent.endLease': { ...plain, ...leaseEnded },
  'agent.targets': { ...plain, params: machineParams, result: leaseTargets },
  'agent.removeTarget': { ...plain, ...targetRemoved },
  /** Where the configuration lets restores write, and what is at the places asked about. */
  'agent.places': { ...plain, params: v.object({ places: askedPlaces }), result: allowedPlaces },
  /** Writes disks of a restore point; the first message says that all places are open, the end that all disks are durable. */
  'agent.restore': { ...plain, params: order, result: ordered, down: streamOf(restoreProgress) },
  /**
   * The same with images that are there: all are compared, and then only what differs is written, or nothing. A method of its
   * own, as an agent that knows only the other would replace them.
   */
  'agent.restoreOnto': { ...plain, params: order, result: ordered, down: streamOf(restoreProgress) },
  'agent.qmp': { ...plain, ...qmp },
  'agent.events': {
    ...plain,
    params: machineParams,
    result: none,
    down: streamOf(qmpEvent),
  },
} as const
