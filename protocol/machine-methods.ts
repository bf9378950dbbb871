// The methods about machines: which there are, what their backups must be, who serves them, and what reaches their QEMU.
import * as v from 'valibot'
import { heldLease, leaseAsked, leaseEnded, leaseRenewed, leaseTargets, targetRemoved } from './leases.ts'
import { MACHINES_MAX } from './limits.ts'
import { audited, none, OPERATORS, OWNER, plain, READERS, served, STARTERS, streamOf } from './method.ts'
import { exclusion, exclusionReason, planName } from './plans.ts'
import { groupName } from './retention.ts'
import * as s from './schemas.ts'
import { chunking } from './transfer.ts'
import { checkpointList, forget, machine, machineStatus, qmp, qmpEvent, relayed, whereabouts } from './views.ts'

const machineParams = v.object({ machine: s.name })

export const MACHINE_METHODS = {
  'machines.list': {
    ...plain,
    roles: READERS,
    params: v.object({
      /** Just this one; NOT_FOUND. */
      machine: v.optional(v.nullable(s.name), null),
      ...s.page,
    }),
    result: v.object({ machines: s.rows(machine), next: s.next }),
  },
  'machines.status': {
    ...plain,
    roles: READERS,
    params: machineParams,
    result: v.object({ ...machineStatus.entries, ...whereabouts }),
  },
  'machines.checkpoints': { ...plain, roles: READERS, params: machineParams, result: checkpointList },
  'machines.exclude': {
    ...audited,
    roles: OPERATORS,
    params: v.object({
      machine: s.name,
      reason: exclusionReason,
      /** When it ends by itself; nil for never. */
      untilMs: v.nullable(s.timeMs),
    }),
    result: v.object({ exclusion }),
  },
  'machines.include': {
    ...audited,
    roles: OPERATORS,
    params: machineParams,
    /** `changed`: the machine was excluded. */
    result: v.object({ changed: v.boolean() }),
  },
  'machines.setGroup': {
    ...audited,
    /** With the group the plan changes, and so the rules and locks that an owner set. */
    roles: OWNER,
    params: v.object({
      machine: s.name,
      /** Nil for no group. */
      group: v.nullable(groupName),
    }),
    result: v.object({
      group: v.nullable(s.name),
      /** The plan that covers the machine now. */
      plan: v.nullable(planName),
      /** The group that the machine has joined has no other machine, and no plan names it. */
      newGroup: v.boolean(),
    }),
  },
  'machines.assign': {
    ...audited,
    roles: OWNER,
    params: v.object({ machine: s.name, agent: s.uuid }),
    /** `changed`: the agent did not have it already. */
    result: v.object({ changed: v.boolean() }),
  },
  'machines.forget': { ...audited, roles: STARTERS, ...forget },
  /** Gives a third program a read lease of a machine at an instant, through its agent; it fails when nobody renews it. */
  'machines.lease': { ...audited, roles: STARTERS, params: leaseAsked, result: heldLease },
  'machines.renewLease': { ...plain, roles: STARTERS, ...leaseRenewed },
  'machines.endLease': { ...audited, roles: STARTERS, ...leaseEnded },
  /** Who may read a machine, what each has read last, and who reads it now. */
  'machines.targets': { ...plain, roles: READERS, params: machineParams, result: leaseTargets },
  /** Forgets a target with its bitmaps; a lease that it holds fails. */
  'machines.removeTarget': { ...audited, roles: STARTERS, ...targetRemoved },
  'machines.qmp': { ...audited, roles: OPERATORS, ...qmp },
  'machines.events': {
    ...plain,
    roles: OPERATORS,
    params: machineParams,
    result: none,
    down: streamOf(qmpEvent),
  },
  'agent.inventory': {
    ...served,
    params: v.object({
      host: v.pipe(v.string(), v.maxLength(255)),
      machines: v.pipe(
        v.array(
          v.object({
            name: s.name,
            /** The hypervisor's; nil where it has none, or where that is not known. */
            uuid: v.nullable(s.uuid),
            /** It runs on the agent's host: it neither is off, nor has left, nor is yet to arrive. */
            here: v.boolean(),
          }),
        ),
        v.maxLength(MACHINES_MAX),
      ),
      /** Jobs whose lease the agent's journal holds. */
      jobs: v.pipe(v.array(s.uuid), v.maxLength(MACHINES_MAX)),
      /** What it may relay to QEMU; older agents do not say it. */
      relay: v.optional(relayed),
    }),
    result: v.object({
      /** Machines that the agent does not serve, and why; MACHINE_MOVING for one that another agent of its site serves now. */
      refused: v.array(v.object({ machine: s.name, ...s.failure.entries })),
      /** What became of each job named; `keys` is what a running one needs to go on. */
      jobs: v.array(v.object({ job: s.uuid, state: v.nullable(s.jobState), keys: v.nullable(chunking) })),
    }),
  },
} as const
