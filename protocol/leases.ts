// Leases that other programs hold: the right to read one machine at one instant, for as long as they say that they live.
import * as v from 'valibot'
import { CONSISTENCY_WISHES } from './backup.ts'
import * as s from './schemas.ts'

/** Shortest and longest time that a lease lives without a renewal, in milliseconds. */
export const LEASE_TTL_MIN_MS = 10_000
export const LEASE_TTL_MAX_MS = 24 * 60 * 60 * 1000

/** Most targets of one machine: each costs it a bitmap per disk, which every guest write marks. */
export const TARGETS_MAX = 8

/** Most characters of a path or name in a lease. */
const TEXT_CHARS_MAX = 4096

const text = v.pipe(v.string(), v.maxLength(TEXT_CHARS_MAX))
const ttlMs = v.pipe(s.count, v.minValue(LEASE_TTL_MIN_MS), v.maxValue(LEASE_TTL_MAX_MS))

const asked = {
  machine: s.name,
  /** Who reads, as letters, digits, dot, dash and underscore: each target has bitmaps of its own. */
  target: s.name,
  /** How long it lives without a renewal. */
  ttlMs,
  /** Everything is to be read; what the target has had is not continued. */
  full: v.boolean(),
}

/** `consistency` nil: as the machine's plan asks. */
export const leaseAsked = v.object({
  ...asked,
  consistency: v.optional(v.nullable(v.picklist(CONSISTENCY_WISHES)), null),
})
export const leaseOrdered = v.object({ ...asked, consistency: v.picklist(CONSISTENCY_WISHES) })

/** One disk, readable over NBD on its host until the lease ends. */
const leaseDisk = v.object({
  ...s.readDisk.entries,
  /** Path of the NBD server's socket on the machine's host, and the name of the export there. */
  socket: text,
  exportName: text,
  /** The NBD meta context that marks what changed since the target's last success; nil where all is to be read. */
  changed: v.nullable(text),
})

/** A lease that has begun. */
export const heldLease = v.object({
  lease: s.uuid,
  machine: s.name,
  target: s.name,
  /** The instant. */
  timeMs: s.timeMs,
  consistency: s.consistency,
  note: s.note,
  /** It fails then, unless it is renewed before. */
  expiresMs: s.timeMs,
  /** The last success, whose changes it continues; nil for none. */
  base: v.nullable(v.object({ lease: s.uuid, timeMs: s.timeMs })),
  /** False where a success records nothing, as of a machine that is off: the next lease continues the same base. */
  records: v.boolean(),
  disks: s.disks(leaseDisk),
  leftOut: s.leftOut,
})
export type HeldLease = v.InferOutput<typeof heldLease>

export const leaseRenewed = {
  params: v.object({ machine: s.name, lease: s.uuid, ttlMs }),
  result: v.object({ expiresMs: s.timeMs }),
} as const

export const leaseEnded = {
  params: v.object({
    machine: s.name,
    lease: s.uuid,
    /** True: what was read is safe, and the next lease continues it. False: the next one also covers what this one did. */
    success: v.boolean(),
  }),
  result: v.object({}),
} as const

/** Who may read a machine: targets with their last success, and the lease that one of them holds now. */
export const leaseTargets = v.object({
  targets: v.pipe(
    v.array(
      v.object({
        target: s.name,
        last: v.nullable(v.object({ lease: s.uuid, timeMs: s.timeMs })),
        held: v.nullable(v.object({ lease: s.uuid, expiresMs: s.timeMs })),
      }),
    ),
    v.maxLength(TARGETS_MAX),
  ),
})
export type LeaseTargets = v.InferOutput<typeof leaseTargets>

export const targetRemoved = {
  params: v.object({ machine: s.name, target: s.name }),
  result: v.object({}),
} as const
