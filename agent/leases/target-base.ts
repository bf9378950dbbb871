// What a target's next lease continues, and what its program is told of a lease. Pure.
import { CHUNK_BYTES_DEFAULT } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { HeldLease } from '../../protocol/leases.ts'
import type { Lease, LeaseBase, LeaseRequest } from '../drivers/driver.ts'
import { holderOf } from './holder.ts'
import type { TargetNote } from './target-notes.ts'

/** Null where the target has had no success. */
export const baseOf = (target: string, { base }: TargetNote): LeaseBase | null =>
  base && {
    checkpoint: base.lease,
    agent: holderOf(target),
    disks: base.disks.map((disk) => ({ ...disk, reread: [] })),
  }

/** The base after a success: where that recorded nothing, the next lease continues what it continued. */
export const baseAfter = (lease: Lease, before: TargetNote | null): TargetNote['base'] => {
  if (!lease.checkpoint) return before?.base ?? null
  const disks = lease.disks.map(({ name, size, evidence }) => ({ name, size, evidence }))
  return { lease: lease.id, timeMs: lease.timeMs, disks }
}

type Wanted = Pick<LeaseRequest, 'machine' | 'leaseId' | 'full' | 'consistency' | 'freezeTimeoutMs'>

/** A lease in the name of a target, but for its base; also of a machine whose QEMU writes its backups the disks are read. */
export const targetRequest = ({ machine, target, ...wanted }: Wanted & { readonly target: string }): LeaseRequest => ({
  ...wanted,
  machine: 'mode' in machine.keys ? { ...machine, keys: { ...machine.keys, mode: 'pull' } } : machine,
  agentId: holderOf(target),
  formerAgents: [],
  base: null,
  compare: false,
  refuseFull: [],
  refuseLeftOut: [],
  chunkBytes: CHUNK_BYTES_DEFAULT,
})

/** DISK_UNSUPPORTED where a disk may be read in a certain way only, which no program of others can be held to. */
export const refuseBounded = ({ disks }: Lease): void => {
  const bounded = disks.find(({ boundaryBytes, clips }) => boundaryBytes !== undefined || clips === true)
  if (bounded === undefined) return
  const sentence = `disk ${bounded.name} can be read by Varve alone: its QEMU answers some reads of others wrongly`
  throw new VarveError('DISK_UNSUPPORTED', sentence, { details: { disk: bounded.name } })
}

/** A lease that has begun, as its program sees it. */
export const toldLease = (
  { id, machine, target, expiresMs, lease }: ToldLease,
  { base }: Pick<TargetNote, 'base'>,
): HeldLease => {
  const { timeMs, consistency, consistencyNote: note, checkpoint: records, leftOut, disks } = lease
  const continues = disks.some(({ kind }) => kind === 'incremental')
  return {
    lease: id,
    machine,
    target,
    timeMs,
    consistency,
    note,
    expiresMs,
    base: continues && base !== null ? { lease: base.lease, timeMs: base.timeMs } : null,
    records,
    disks: disks.map(({ name, size, kind, reason, socketPath: socket, exportName, dirtyContext: changed }) => {
      return { name, size, kind, reason, socket, exportName, changed }
    }),
    leftOut: [...leftOut],
  }
}

interface ToldLease {
  readonly id: string
  readonly machine: string
  readonly target: string
  readonly expiresMs: number
  readonly lease: Lease
}
